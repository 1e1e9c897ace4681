"""What a pod mounts so that its stage reaches what URIs mean: claims, images, and Secrets (`secretRef`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from speechless.contract.storage import Mount, mounted
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import Object

CLAIMS, IMAGES, SECRETS = "/mnt/pvc", "/mnt/images", "/mnt/secrets"


@dataclass(frozen=True)
class Mounts:
    """Claims, images and Secrets by name; a claim that is read and written is mounted once, to write."""

    writable: Mapping[str, bool] = field(default_factory=dict)
    """Claim to whether it is written."""
    images: tuple[str, ...] = ()
    """References. Where the cluster has no image volumes, the API server or the kubelet says so of the pod."""
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> Mounts:
        """What the run's inputs and output need, in the order of the names."""
        uris = [found.uri for found in run.inputs]
        read = {claim for uri in uris if (claim := mounted(uri, Mount.CLAIM))}
        written = {claim for uri in (run.output,) if uri and (claim := mounted(uri, Mount.CLAIM))}
        images = {image for uri in uris if (image := mounted(uri, Mount.IMAGE))}
        secrets = {name for name in (*(found.secret for found in run.inputs), run.output_secret) if name}
        return cls(
            {claim: claim in written for claim in sorted(read | written)},
            tuple(sorted(images)),
            tuple(sorted(secrets)),
        )

    @property
    def folders(self) -> dict[str, str]:
        """Claim or image to folder, for the stage. A claim's name has no slash, an image's reference has one."""
        claims = {claim: f"{CLAIMS}/{claim}" for claim in self.writable}
        return claims | {image: f"{IMAGES}/{number}" for number, image in enumerate(self.images)}

    @property
    def secret_folders(self) -> dict[str, str]:
        """Secret to folder, for the stage."""
        return {secret: f"{SECRETS}/{secret}" for secret in self.secrets}

    def volumes(self) -> list[Object]:
        """The pod's volumes. They are numbered, as a claim's or a Secret's name may be longer than a volume's."""
        claims: list[Object] = [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(self.writable)
        ]
        images: list[Object] = [
            {"name": f"image-{number}", "image": {"reference": image}}
            for number, image in enumerate(self.images)
        ]
        return [*claims, *images] + [
            {"name": f"secretref-{number}", "secret": {"secretName": secret, "defaultMode": 0o440}}
            for number, secret in enumerate(self.secrets)
        ]

    def volume_mounts(self) -> list[Object]:
        """The container's mounts."""
        claims: list[Object] = [
            {"name": f"claim-{number}", "mountPath": f"{CLAIMS}/{claim}"}
            | ({} if writable else {"readOnly": True})
            for number, (claim, writable) in enumerate(self.writable.items())
        ]
        images: list[Object] = [
            {"name": f"image-{number}", "mountPath": f"{IMAGES}/{number}", "readOnly": True}
            for number in range(len(self.images))
        ]
        return [*claims, *images] + [
            {"name": f"secretref-{number}", "mountPath": f"{SECRETS}/{secret}", "readOnly": True}
            for number, secret in enumerate(self.secrets)
        ]
