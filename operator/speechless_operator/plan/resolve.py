"""From what a spec names to what it is: an address and, for artifacts of other resources, a digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from speechless.contract import Format, ModelInfo, SecretReference, storage
from speechless.contract.needs import Problem
from speechless_operator.api.common import DataSource, ModelSource, Output
from speechless_operator.api.pod import PodSettings
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.ceilings import violations
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.settings import Settings
from speechless_operator.plan.conditions import Aspect, find, holds

References = Mapping[tuple[str, str], Object]


class Blocked(Exception):  # noqa: N818 - it carries what to say, not an error
    """A resource cannot go on for want of an input, or because of its spec."""

    def __init__(self, reason: Reason, message: str, *, stalled: bool) -> None:
        """`stalled`: it stays so until somebody changes something."""
        super().__init__(message)
        self.reason, self.message, self.stalled = reason, message, stalled

    def aspect(self, kind: str) -> Aspect:
        """As a condition of this type."""
        return Aspect(kind, False, self.reason, self.message, stalled=self.stalled)


def invalid(message: str) -> Blocked:
    """The spec is wrong; the message begins with the field's path."""
    return Blocked(Reason.INVALID_SPEC, message, stalled=True)


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
    if (circle := _circle(owner, named, references)) is not None:
        message = f"spec.model: {' -> '.join('/'.join(step) for step in circle)}: none of them can begin"
        raise Blocked(Reason.DEPENDENCY_CYCLE, message, stalled=True)
    upstream = references.get(named)
    if upstream is None or "deletionTimestamp" in upstream["metadata"]:
        raise waiting(f"waits for {kind} {name}, which does not exist yet")
    status = upstream.get("status") or {}
    if holds(status, "Failed"):
        raise Blocked(Reason.UPSTREAM_FAILED, f"{kind} {name} failed: {_why(status, 'Failed')}", stalled=True)
    artifact, meta = status.get("artifact") or {}, upstream["metadata"]
    found = Input.read(
        {
            **{key: artifact.get(key) for key in ("uri", "digest", "format", "sizeBytes")},
            "name": "model",
            "kind": kind,
            "resource": name,
            "uid": meta["uid"],
            "generation": meta.get("generation"),
            **{key: (artifact.get("model") or {}).get(key) for key in ("architecture", "quantization")},
            "secret": (status.get("run") or {}).get("outputSecret"),
        }
    )
    if not holds(status, "Succeeded") or found is None or found.digest is None:
        stuck = f"; it is stalled: {_why(status, 'Stalled')}" if holds(status, "Stalled") else ""
        raise waiting(f"waits for {kind} {name}, which is not finished{stuck}")
    return found


def _circle(owner: Owner, first: tuple[str, str], references: References) -> list[tuple[str, str]] | None:
    """The way from a resource back to itself, if what it names leads there. A resource names one model at most."""
    me = (owner.kind, owner.name)
    way, step = [me], first
    while step not in way:
        way.append(step)
        source = (references.get(step, {}).get("spec") or {}).get("model") or {}
        onward = next(
            (
                (kind, source[field].get("name"))
                for field, kind in NAMED.items()
                if isinstance(source.get(field), dict)
            ),
            None,
        )
        if onward is None:
            return None
        step = onward
    return [*way, step] if step == me else None


NAMED = {"fineTune": "FineTune", "quantization": "Quantization"}
"""The fields of a model source that name another resource, and its kind."""


def data(role: str, source: DataSource, path: str, settings: Settings) -> Input:
    """Data that is read as it is; `path` is the field's, for messages."""
    return _plain(role, source.uri, source, f"{path}.uri", settings)


def store(output: Output | None, settings: Settings) -> tuple[str, str | None]:
    """The folder under which artifacts go, and the Secret that writing there needs."""
    spec_uri = output.uri if output else None
    scheme = storage.scheme_of(spec_uri or "")
    if spec_uri is not None and (scheme is None or not scheme.may_write):
        raise invalid(
            f"spec.output.uri: a pod's own files are gone with it: use {storage.examples(writable=True)}"
        )
    found = spec_uri or settings.artifact_store
    if not found:
        raise invalid(
            "spec.output.uri: the operator has no artifact store (--artifact-store): set it to "
            f"{storage.examples(writable=True)}"
        )
    try:
        storage.check_base(found)
    except storage.UriError as error:
        raise invalid(f"spec.output.uri: {error}") from None
    if output is None:
        return found, settings.artifact_store_secret or None
    return found, _secret(output.secret_ref, found, "spec.output")


def _secret(ref: SecretReference | None, uri: str, path: str) -> str | None:
    """The name of the Secret, if the scheme of the uri reads one."""
    scheme = storage.scheme_of(uri)
    if ref is None:
        return None
    if scheme is not None and not scheme.settings:
        more = ", and name it in spec.pod.imagePullSecrets" if scheme.mounts is storage.Mount.IMAGE else ""
        raise invalid(f"{path}.secretRef: {scheme.name}:// takes no Secret: remove it{more}")
    return ref.name


def check_ceilings(
    pod: PodSettings, uris: Mapping[str, str], settings: Settings, engine_args: Sequence[str] = ()
) -> None:
    """Hold a spec against what the administrator allows; `uris` are by the path of their field.

    Raises:
        Blocked: Something is not allowed; the message has a line for each.
    """
    if found := violations(pod, uris, settings.ceilings, engine_args):
        raise Blocked(Reason.NOT_ALLOWED, "\n".join(found), stalled=True)


def waiting(message: str) -> Blocked:
    """Something is not there yet; its event wakes this resource."""
    return Blocked(Reason.WAITING_FOR_INPUT, message, stalled=False)


def _plain(role: str, uri: str, source: ModelSource | DataSource, path: str, settings: Settings) -> Input:
    scheme = storage.scheme_of(uri)
    if scheme is None or (scheme.administrator_only and not settings.allow_file_uris):
        name = uri.partition("://")[0]
        raise invalid(f"{path}: {name}:// is not allowed on this cluster: use pvc://<claim>/<path>")
    secret = _secret(source.secret_ref, uri, path.removesuffix(".uri"))
    return Input(
        name=role,
        uri=uri,
        digest=source.digest,
        wait_seconds=source.wait_seconds,
        secret=secret,
        include=source.include,
        exclude=source.exclude,
        config=getattr(source, "config", None),
        split=getattr(source, "split", None),
    )


def _why(status: Object, kind: str) -> str:
    found = find(status, kind) or {}
    return f"{found.get('reason', '')}: {found.get('message', '')}"[:512]


def need_model(model: Input, judge: Callable[[Format, ModelInfo | None], Problem | None]) -> None:
    """An artifact of a kind of model that is not taken, or quantized by such a method, is told before a pod starts.

    Raises:
        Blocked: `judge`, of a row of `speechless.contract.needs`, has a problem with it.
    """
    if model.format is None:
        return
    told = {
        "architecture": model.architecture,
        "quantization": model.quantization and {"method": model.quantization},
    }
    try:
        problem = judge(Format(model.format), ModelInfo.model_validate(told))
    except ValueError:  # it is no word that we know: the pod will look
        return
    if problem:
        raise invalid(f"spec.model: {model.kind} {model.resource}: {problem.what}: {problem.hint}")


def need_format(model: Input, formats: tuple[Format, ...], why: str) -> None:
    """An artifact of another format is told before a pod starts for it. A plain uri's format shows only in the pod.

    Raises:
        Blocked: The model is an artifact of a format that does not fit.
    """
    if model.format is None or model.format in formats:
        return
    known: dict[str, str] = {
        Format.ADAPTER: "create the FineTune with merge: true",
        Format.HUGGING_FACE: "add a Quantization of it, and name that",
    }
    advice = known.get(model.format, f"name a {' or '.join(formats)} model")
    raise invalid(
        f"spec.model: {model.kind} {model.resource} made format {model.format}, and {why}: {advice}"
    )
