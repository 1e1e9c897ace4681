"""From what a spec names to what it is: an address and, for artifacts of other resources, a digest."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from speechless.contract import Format
from speechless_operator.api.common import DataSource, ModelSource
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.settings import Settings
from speechless_operator.plan.conditions import Phase, State, find, holds

References = Mapping[tuple[str, str], Object]


class Blocked(Exception):  # noqa: N818 - it carries a state, not an error
    """A resource cannot go on; `state` says where that leaves it."""

    def __init__(self, state: State) -> None:
        """Carry `state`."""
        super().__init__(state.message)
        self.state = state


def invalid(message: str) -> Blocked:
    """The spec is wrong; the message begins with the field's path."""
    return Blocked(State(Phase.STALLED, Reason.INVALID_SPEC, message))


def invalid_model(error: ValidationError, above: str = "spec") -> Blocked:
    """What pydantic found wrong, a line a field, each with its path."""
    lines = [
        f"{'.'.join(map(str, (above, *e['loc'])))}: {e['msg']}"
        for e in error.errors(include_url=False, include_input=False)
    ]
    return invalid("\n".join(lines))


def referred(source: ModelSource) -> tuple[str, str] | None:
    """The kind and name of the resource that a source names."""
    if source.fine_tune:
        return "FineTune", source.fine_tune.name
    if source.quantization:
        return "Quantization", source.quantization.name
    return None


def describe(source: ModelSource) -> str:
    """Where a model comes from, for people: `FineTune/tuned`, or its uri."""
    named = referred(source)
    return "/".join(named) if named else source.uri or ""


def model(source: ModelSource, owner: Owner, references: References, settings: Settings) -> Input:
    """The model of `spec.model`.

    Raises:
        Blocked: It is not there yet, it failed, or the spec is wrong.
    """
    named = referred(source)
    if named is None:
        if source.uri is None:
            raise invalid("spec.model: set exactly one of uri, fineTune and quantization")
        return _plain("model", source.uri, source, "spec.model.uri", settings)
    kind, name = named
    if named == (owner.kind, owner.name):
        raise invalid(f"spec.model: {kind} {name} refers to itself")
    upstream = references.get(named)
    if upstream is None or "deletionTimestamp" in upstream["metadata"]:
        raise waiting(f"waits for {kind} {name}, which does not exist yet")
    status = upstream.get("status", {})
    if holds(status, "Failed"):
        raise Blocked(
            State(Phase.STALLED, Reason.UPSTREAM_FAILED, f"{kind} {name} failed: {_why(status, 'Failed')}")
        )
    if not holds(status, "Succeeded") or "artifact" not in status:
        stuck = f"; it is stalled: {_why(status, 'Stalled')}" if holds(status, "Stalled") else ""
        raise waiting(f"waits for {kind} {name}, which is not finished{stuck}")
    artifact, meta = status["artifact"], upstream["metadata"]
    return Input(
        name="model",
        uri=artifact["uri"],
        digest=artifact["digest"],
        kind=kind,
        resource=name,
        uid=meta["uid"],
        generation=meta["generation"],
        format=artifact["format"],
        size_bytes=artifact.get("sizeBytes"),
    )


def data(role: str, source: DataSource, path: str, settings: Settings) -> Input:
    """Data that is read as it is; `path` is the field's, for messages."""
    return _plain(role, source.uri, source, f"{path}.uri", settings)


def output(spec_uri: str | None, owner: Owner, run_hash: str, settings: Settings) -> str:
    """The folder of a run's artifact."""
    if spec_uri is not None and spec_uri.startswith("file://"):
        raise invalid("spec.output.uri: a pod's own files are gone with it: use pvc://<claim>/<path>")
    store = spec_uri or settings.artifact_store
    if not store:
        raise invalid(
            "spec.output.uri: the operator has no artifact store (--artifact-store): set it to pvc://<claim>/<path>"
        )
    run = f"{owner.uid[:8]}-{run_hash}"
    return f"{store.rstrip('/')}/{owner.namespace}/{owner.kind.lower()}/{owner.name}/{run}"


def waiting(message: str) -> Blocked:
    """Something is not there yet; its event wakes this resource."""
    return Blocked(State(Phase.WAITING, Reason.WAITING_FOR_INPUT, message))


def _plain(role: str, uri: str, source: ModelSource | DataSource, path: str, settings: Settings) -> Input:
    if uri.startswith("file://") and not settings.allow_file_uris:
        raise invalid(f"{path}: file:// is not allowed on this cluster: use pvc://<claim>/<path>")
    return Input(name=role, uri=uri, digest=source.digest, wait_seconds=source.wait_seconds)


def _why(status: Object, kind: str) -> str:
    found = find(status, kind) or {}
    return f"{found.get('reason', '')}: {found.get('message', '')}"[:512]


def need_format(model: Input, formats: tuple[Format, ...], why: str) -> None:
    """An artifact of another format is told before a pod starts for it. A plain uri's format shows only in the pod.

    Raises:
        Blocked: The model is an artifact of a format that does not fit.
    """
    if model.format is None or model.format in formats:
        return
    advice = {
        Format.ADAPTER: "create the FineTune with merge: true",
        Format.HUGGING_FACE: "add a Quantization of it, and name that",
    }.get(Format(model.format), f"name a {' or '.join(formats)} model")
    raise invalid(
        f"spec.model: {model.kind} {model.resource} made format {model.format}, and {why}: {advice}"
    )
