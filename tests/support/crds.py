"""Installing custom resource definitions for a test, so that they can be used at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_condition, wait_for


def served(kube: Kube, crd: Object) -> bool:
    """Whether the API server answers for the definition's resource."""
    spec = crd["spec"]
    version = next(version["name"] for version in spec["versions"] if version["storage"])
    try:
        kube.request("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")
    except ApiError as error:
        # 429 "storage is (re)initializing": the handler is there, its watch cache is not yet.
        if error.code not in (404, 429):
            raise
        return False
    return True


@contextmanager
def installed(kube: Kube, crd: Object) -> Iterator[Object]:
    """Install a definition, wait until its resources can be used, and remove it afterwards."""
    name = crd["metadata"]["name"]
    kube.apply(crd)
    try:
        wait_condition(kube, "CustomResourceDefinition", name, None, "Established", timeout=20)
        # Established says that the names are free; the handler follows a moment later, discovery after it.
        wait_for(lambda: served(kube, crd), f"{name} to be served", timeout=20)
        kind, group = crd["spec"]["names"]["kind"], crd["spec"]["group"]

        def discovered() -> bool:
            return any(r.kind == kind and r.group == group for r in kube.discovery.all())

        wait_for(discovered, f"{name} to be discovered", timeout=20)
        yield crd
    finally:
        kube.delete("CustomResourceDefinition", name, missing_ok=True)
