"""What an administrator forbids, held against what a resource says. Each finding says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from speechless.contract.storage import Mount, mounted
from speechless_operator.api.pod import PodSettings
from speechless_operator.desired.settings import Ceilings

_FLAG = re.compile(r"--?[A-Za-z][^=]*")
"""`--threads`, `-t`, `--threads=4`; not `-1`, which is a value."""


def violations(
    pod: PodSettings, uris: Mapping[str, str], ceilings: Ceilings, engine_args: Sequence[str] = ()
) -> list[str]:
    """What a resource asks for and may not have, a line a finding, each with its field's path.

    Args:
        pod: spec.pod.
        uris: Addresses that the resource names, by the path of their field. What the operator resolved from another
            resource is not among them: it was held against the ceiling there.
        ceilings: The administrator's.
        engine_args: spec.engineArgs of an InferenceService.
    """
    return [
        *_image(pod, ceilings),
        *_forbidden("spec.pod.env", pod.env, ceilings.allow_env),
        *_forbidden("spec.pod.envFrom", pod.env_from, ceilings.allow_env),
        *_forbidden("spec.pod.volumes", pod.volumes, ceilings.allow_volumes),
        *_listed("spec.pod.serviceAccountName", pod.service_account_name, ceilings.service_accounts),
        *_listed("spec.pod.priorityClassName", pod.priority_class_name, ceilings.priority_classes),
        *_listed("spec.pod.runtimeClassName", pod.runtime_class_name, ceilings.runtime_classes),
        *_uris(uris, ceilings.uri_prefixes),
        *_mounted_images(uris, ceilings.image_prefixes),
        *_engine_args(engine_args, ceilings.engine_args),
    ]


def begins(text: str, prefix: str) -> bool:
    """Whether a reference or an address begins with a prefix, a whole part of it at least.

    >>> begins("registry.corp/train:1", "registry.corp"), begins("registry.corp.evil/x", "registry.corp")
    (True, False)
    """
    rest = text.removeprefix(prefix)
    return text == prefix or (rest != text and (prefix.endswith("/") or rest[0] in "/:@"))


def _image(pod: PodSettings, ceilings: Ceilings) -> list[str]:
    prefixes = ceilings.image_prefixes
    if pod.image is None or prefixes is None or any(begins(pod.image, prefix) for prefix in prefixes):
        return []
    return [f"spec.pod.image: {pod.image} is not allowed on this cluster: {_choose(prefixes, 'one below')}"]


def _forbidden(path: str, value: Sequence[object], allowed: bool) -> list[str]:
    return [] if allowed or not value else [f"{path}: not allowed on this cluster: remove it"]


def _listed(path: str, value: str | None, allowed: Sequence[str] | None) -> list[str]:
    if value is None or allowed is None or value in allowed:
        return []
    return [f"{path}: {value} is not allowed on this cluster: {_choose(allowed)}"]


def _uris(uris: Mapping[str, str], prefixes: Sequence[str] | None) -> list[str]:
    return [
        f"{path}: {uri} is not allowed on this cluster: {_choose(prefixes, 'an address below')}"
        for path, uri in uris.items()
        if prefixes is not None and not any(begins(uri, prefix) for prefix in prefixes)
    ]


def _mounted_images(uris: Mapping[str, str], prefixes: Sequence[str] | None) -> list[str]:
    """An image that is mounted comes onto the node as one that is run does."""
    images = {path: image for path, uri in uris.items() if (image := mounted(uri, Mount.IMAGE))}
    return [
        f"{path}: the image {image} is not allowed on this cluster: {_choose(prefixes, 'one below')}"
        for path, image in images.items()
        if prefixes is not None and not any(begins(image, prefix) for prefix in prefixes)
    ]


def _engine_args(arguments: Iterable[str], allowed: Sequence[str] | None) -> list[str]:
    if allowed is None:
        return []
    flags = [found.group() for argument in arguments if (found := _FLAG.match(argument))]
    return [
        f"spec.engineArgs: {flag} is not allowed on this cluster: {_choose(allowed)}"
        for flag in dict.fromkeys(flags)
        if flag not in allowed
    ]


def _choose(allowed: Sequence[str], word: str = "one of") -> str:
    return f"remove it, or use {word} {', '.join(allowed)}" if allowed else "remove it"
