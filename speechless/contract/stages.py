"""What every stage is told: whose run it is, where its inputs are, and where its output goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless.contract.artifact import Digest
from speechless.contract.model import ContractModel

Uri = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://.+$", max_length=2048)]


class StageName(StrEnum):
    """The stages there are."""

    FETCH = "fetch"
    FINETUNE = "finetune"
    EVALUATE = "evaluate"
    QUANTIZE = "quantize"
    SERVE = "serve"


STAGE_IMAGES: dict[StageName, str] = {
    StageName.FINETUNE: "train",
    StageName.EVALUATE: "eval",
    StageName.QUANTIZE: "quantize",
}
"""The image (a folder of images/) that a stage runs in. A service's is its engine's: `engines.images()`."""


class RunIdentity(ContractModel):
    """Whose run this is; recorded in the artifact, never used as a path."""

    namespace: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    spec_hash: str = ""


class SecretReference(ContractModel):
    """A Secret of the same namespace."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"),
    ]
    """Its name."""


class SourceOptions(ContractModel):
    """What may be said of an input beside where it is."""

    digest: Digest | None = None
    """The digest that it must have. Without it, the digest of what was read is recorded. A model behind a gate needs
    it."""
    wait_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Seconds that the pod waits until uri exists. It must appear complete, by a rename. Without it, a missing uri is
    an error at once."""
    secret_ref: SecretReference | None = None
    """The Secret with what reading it needs: a token, keys, an endpoint. Only the stage's container gets it, as files.
    Which keys are read depends on the scheme of uri (docs: how-to, storage)."""


class Source(SourceOptions):
    """An input: where it is and, when it is known, what it must digest to.

    The schemes are the rows of `storage.SCHEMES`. A folder with a manifest is verified against it; one without is
    digested as it is read, and the digest recorded.
    """

    uri: Uri
    """Where it is."""


class Stage(ContractModel):
    """What every stage is told."""

    version: Literal["v1"] = "v1"
    run: RunIdentity = RunIdentity()
    mounts: dict[str, str] = {}
    """A claim's name, or an image's reference, to the folder of its mount: how `pvc://claim/path` becomes a path."""
    secrets: dict[str, str] = {}
    """Secret name to the folder where it is mounted, a file a key: what `secretRef` means."""
    work_dir: str = "/work"
    """Scratch space of this attempt."""


class Publishing(Stage):
    """A stage that ends with an artifact."""

    output: Uri
    """Where the artifact goes; a folder that is made by the stage."""
    output_secret_ref: SecretReference | None = None
    """The Secret with what writing there needs."""


class FetchSpec(Publishing):
    """Copy a source into the store as an artifact."""

    stage: Literal[StageName.FETCH] = StageName.FETCH
    source: Source
