"""What goes into a run, resolved, and the run itself: its name, its attempt, where its artifact goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from speechless.contract import DataSource, SecretReference, Source
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
    secret: str | None = None
    """The Secret that reading it needs."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns of the files that are read, and of those that are not."""
    config: str | None = None
    split: str | None = None
    """Which part of a dataset is read."""
    architecture: str | None = None
    """What kind of model it is; None: it is not known."""
    quantization: str | None = None
    """The method by which its weights were quantized; None: they were not, or it is not known."""

    @property
    def source(self) -> Source:
        """As the stage contract has it."""
        told = {
            field: getattr(self, field) for field in ("uri", "digest", "wait_seconds", "include", "exclude")
        }
        if self.secret:
            told["secret_ref"] = SecretReference(name=self.secret)
        if self.config or self.split:
            return DataSource(**told, config=self.config, split=self.split)
        return Source(**told)

    def status(self) -> Object:
        """As status.inputs has it."""
        found = {wire: getattr(self, field) for field, wire in _WIRE.items()}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
        return {key: value for key, value in plain.items() if value not in (None, [])}

    @classmethod
    def read(cls, found: object) -> Input | None:
        """From status.inputs or an older child's annotation; unknown keys are nobody's, None: it is no input.

        >>> Input.read({"name": "model", "uri": "pvc://a/b", "size_bytes": 1, "new": True}).size_bytes
        1
        """
        if not isinstance(found, Mapping):
            return None
        values: dict[str, Any] = {}
        for field, wire in _WIRE.items():
            value = found.get(wire, found.get(field))
            if field in _LISTS:
                words = value if isinstance(value, list) else []
                values[field] = tuple(word for word in words if isinstance(word, str))
                continue
            wanted = int if field in _NUMBERS else str
            if isinstance(value, wanted) and not isinstance(value, bool):
                values[field] = value
        return cls(**values) if "name" in values and "uri" in values else None

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


_WIRE = {
    "name": "name", "kind": "kind", "resource": "resource", "uid": "uid", "generation": "generation", "uri": "uri",
    "digest": "digest", "format": "format", "size_bytes": "sizeBytes", "wait_seconds": "waitSeconds",
    "secret": "secret", "include": "include", "exclude": "exclude", "config": "config", "split": "split",
    "architecture": "architecture", "quantization": "quantization",
}  # fmt: skip
_LISTS = frozenset({"include", "exclude"})
_NUMBERS = frozenset({"generation", "size_bytes", "wait_seconds"})


@dataclass(frozen=True)
class Run:
    """What was decided before a child was made: it stays so whatever upstream becomes."""

    inputs: tuple[Input, ...]
    output: str | None = None
    name: str = ""
    """The hash of what decides the result."""
    attempt: int = 1
    suspended: bool = False
    """Whether the operator itself has suspended the Job."""
    lost: int = 0
    """Results that were lost with their pods."""
    output_secret: str | None = None
    """The Secret that writing the output needs, and reading it again."""

    def input(self, name: str) -> Input:
        """The input of a role."""
        return next(found for found in self.inputs if found.name == name)

    def next(self, *, lost: bool = False) -> Run:
        """The same run, once more."""
        return replace(self, attempt=self.attempt + 1, lost=self.lost + lost, suspended=False)

    def status(self) -> Object:
        """As status.run has it."""
        made: Object = {
            "name": self.name,
            "attempt": self.attempt,
            "inputs": [i.status() for i in self.inputs],
        }
        if self.output:
            made["output"] = self.output
        if self.output_secret:
            made["outputSecret"] = self.output_secret
        if self.suspended:
            made["suspended"] = True
        if self.lost:
            made["lost"] = self.lost
        return made

    @classmethod
    def read(cls, found: object) -> Run | None:
        """From status.run, however it came there; None where it says no run."""
        if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
            return None
        attempt, lost, output = found.get("attempt"), found.get("lost"), found.get("output")
        secret = found.get("outputSecret")
        return cls(
            inputs=read_inputs(found.get("inputs")),
            output=output if isinstance(output, str) else None,
            name=found["name"],
            attempt=attempt if isinstance(attempt, int) else 1,
            suspended=found.get("suspended") is True,
            lost=lost if isinstance(lost, int) else 0,
            output_secret=secret if isinstance(secret, str) else None,
        )

    @classmethod
    def from_json(cls, text: str | None, name: str = "") -> Run | None:
        """From the annotation that the first version kept on a child; None where it cannot be read."""
        try:
            found = json.loads(text or "")
        except ValueError:
            return None
        if not isinstance(found, Mapping):
            return None
        output = found.get("output")
        return cls(read_inputs(found.get("inputs")), output if isinstance(output, str) else None, name)

    def to_json(self) -> str:
        """For the annotation on a child: an older operator reads it, too."""
        kept = (
            "name",
            "uri",
            "digest",
            "kind",
            "resource",
            "uid",
            "generation",
            "format",
            "size_bytes",
            "wait_seconds",
            "include",
            "exclude",
        )
        inputs = [
            {key: value for key in kept if (value := getattr(found, key)) not in (None, ())}
            for found in self.inputs
        ]
        return json.dumps(
            {"inputs": inputs, "output": self.output}, separators=(",", ":"), ensure_ascii=False
        )


def read_inputs(found: object) -> tuple[Input, ...]:
    """Inputs from a list that somebody else may have written; what is no input is left out."""
    entries = found if isinstance(found, list) else []
    return tuple(entry for raw in entries if (entry := Input.read(raw)) is not None)
