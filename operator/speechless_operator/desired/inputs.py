"""What goes into a run: resolved, so that it says where each input is and what it must digest to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from speechless.contract import Source
from speechless_operator.desired.objects import Object


@dataclass(frozen=True)
class Input:
    """One input. With `kind`, it is the artifact of another resource."""

    name: str
    uri: str
    digest: str | None = None
    kind: str | None = None
    resource: str | None = None
    uid: str | None = None
    generation: int | None = None
    format: str | None = None
    size_bytes: int | None = None
    wait_seconds: int | None = None

    @property
    def source(self) -> Source:
        """As the stage contract has it."""
        return Source(uri=self.uri, digest=self.digest, wait_seconds=self.wait_seconds or 0)

    def status(self) -> Object:
        """As status.inputs has it."""
        found = {
            "name": self.name,
            "kind": self.kind,
            "resource": self.resource,
            "uid": self.uid,
            "generation": self.generation,
            "uri": self.uri,
            "digest": self.digest,
        }
        return {key: value for key, value in found.items() if value is not None}

    def artifact(self) -> Object | None:
        """As status.artifact has it, when it is an artifact whose digest and format are known."""
        if self.digest is None or self.format is None:
            return None
        return {
            "uri": self.uri,
            "digest": self.digest,
            "sizeBytes": self.size_bytes or 0,
            "format": self.format,
        }


@dataclass(frozen=True)
class Run:
    """What was decided when a child was made: kept on the child, so that it stays so whatever upstream becomes."""

    inputs: tuple[Input, ...]
    output: str | None = None

    def input(self, name: str) -> Input:
        """The input of a role."""
        return next(found for found in self.inputs if found.name == name)

    def to_json(self) -> str:
        """For the annotation."""
        return json.dumps(
            {"inputs": [_slim(found) for found in self.inputs], "output": self.output}, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> Run:
        """From the annotation."""
        read = json.loads(text)
        return cls(tuple(Input(**found) for found in read["inputs"]), read["output"])


def _slim(found: Input) -> Object:
    return {key: value for key, value in vars(found).items() if value is not None}


def uris(inputs: Sequence[Input]) -> list[str]:
    """Where the inputs are."""
    return [found.uri for found in inputs]
