"""Which claims a pod mounts, and where: `pvc://claim/path` is a path below the claim's folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechless.contract.storage import claim_of
from speechless_operator.desired.objects import Object

FOLDER = "/mnt/pvc"


@dataclass(frozen=True)
class Mounts:
    """Claims by name; a claim that is read and written is mounted once, to write."""

    writable: dict[str, bool]

    @classmethod
    def of(cls, inputs: Iterable[str], output: str | None = None) -> Mounts:
        """The claims of these uris, in the order of their names."""
        read = {claim for uri in inputs if (claim := claim_of(uri))}
        written = {claim for uri in (output,) if uri and (claim := claim_of(uri))}
        return cls({claim: claim in written for claim in sorted(read | written)})

    @property
    def folders(self) -> dict[str, str]:
        """Claim to folder, for the stage."""
        return {claim: f"{FOLDER}/{claim}" for claim in self.writable}

    def volumes(self) -> list[Object]:
        """The pod's volumes. They are numbered, as a claim's name may be longer than a volume's."""
        return [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(self.writable)
        ]

    def volume_mounts(self) -> list[Object]:
        """The container's mounts."""
        return [
            {"name": f"claim-{number}", "mountPath": f"{FOLDER}/{claim}"}
            | ({} if writable else {"readOnly": True})
            for number, (claim, writable) in enumerate(self.writable.items())
        ]
