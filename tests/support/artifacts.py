"""What a failed test leaves behind: its namespace's objects, events and logs as files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.support.explain import container_statuses, event_text, event_time
from tests.support.kube import ApiError, Kube, Object

# Aliases of what is written elsewhere, or too noisy to help.
SKIPPED = frozenset({("events.k8s.io", "events"), ("", "events")})


def folder_name(file: Path, test_id: str) -> str:
    """A test as one folder name that every file system takes: `test_pods.test_it-a-b`."""
    inside = test_id.partition("::")[2].replace("::", ".")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{file.stem}.{inside}").strip("-")[:150]


def redacted(obj: Object) -> Object:
    """The object without the noise of managed fields, and a Secret without its values."""
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    clean = obj | {"metadata": meta}
    if obj["kind"] == "Secret":
        clean["data"] = {
            key: f"<{len(value)} base64 characters>" for key, value in (obj.get("data") or {}).items()
        }
        # Client-side apply keeps the whole object, values included, in an annotation.
        meta.pop("annotations", None)
    return clean


def dump_namespace(kube: Kube, namespace: str, folder: Path) -> list[str]:
    """Write everything in a namespace below `folder`; return what could not be read, a line each."""
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    for resource in kube.discovery.all():
        if (
            not resource.namespaced
            or "list" not in resource.verbs
            or (resource.group, resource.plural) in SKIPPED
        ):
            continue
        name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        try:
            answer = kube.request("GET", resource.path(namespace))
        except ApiError as error:
            if error.code != 404:  # a definition that was removed in the meantime has no objects
                problems.append(str(error))
            continue
        heading = {"apiVersion": resource.api_version, "kind": resource.kind}
        _write_objects(folder / f"{name}.yaml", [heading | item for item in answer["items"]])
    events = sorted(kube.list("Event", namespace), key=event_time)
    (folder / "events.txt").write_text("".join(event_text(event) + "\n" for event in events))
    for pod in kube.list("Pod", namespace):
        problems += _write_logs(kube, pod, folder / "logs")
    if problems:
        (folder / "not-read.txt").write_text("\n".join(problems) + "\n")
    return problems


def _write_objects(path: Path, objects: Iterable[Object]) -> None:
    if documents := [redacted(obj) for obj in objects]:
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))


def _write_logs(kube: Kube, pod: Object, folder: Path) -> list[str]:
    """Write the current and previous logs of a pod's containers; return what could not be read."""
    folder.mkdir(exist_ok=True)
    meta = pod["metadata"]
    problems = []
    for container in container_statuses(pod):
        if "waiting" in (container.get("state") or {}) and not container.get("restartCount"):
            continue  # never ran: there is no log to ask for
        for previous in (False, True) if container.get("restartCount") else (False,):
            suffix = ".previous" if previous else ""
            try:
                text = kube.logs(
                    meta["name"], meta["namespace"], container=container["name"], previous=previous
                )
            except ApiError as error:
                problems.append(str(error))
                continue
            (folder / f"{meta['name']}.{container['name']}{suffix}.log").write_text(text)
    return problems
