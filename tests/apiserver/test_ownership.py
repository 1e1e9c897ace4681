"""The garbage collector is real: children go with their owner, which is what the operator leaves cleaning up to."""

from __future__ import annotations

from tests.apiserver.probe import Probes
from tests.support import pods
from tests.support.kube import Kube, Object
from tests.support.wait import wait_gone, wait_pods

# The garbage collector learns of a new kind within 30 s, and tries what failed again after times that double, 41 s
# among them: the children of a kind that was installed a moment ago may stay that long.
NEW_KIND_SECONDS = 100


def owned_by(owner: Object, obj: Object) -> Object:
    """The object with an owner."""
    meta = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    obj["metadata"]["ownerReferences"] = [reference]
    return obj


def test_a_deleted_resource_takes_its_children_along(kube: Kube, namespace: str, probes: Probes) -> None:
    owner = kube.create(probes.valid("parent", namespace))
    kube.create(owned_by(owner, pods.job("child", namespace, pods.idle())))
    wait_pods(kube, namespace, "job-name=child", 1)

    kube.delete(probes.kind, "parent", namespace, propagation="Background")

    assert kube.find(probes.kind, "parent", namespace) is None, "in the background: the owner goes at once"
    wait_gone(kube, "Job", "child", namespace, timeout=NEW_KIND_SECONDS)
    wait_pods(kube, namespace, "job-name=child", 0)


def test_an_orphaned_child_stays(kube: Kube, namespace: str) -> None:
    owner = kube.create(pods.config_map("parent", namespace, {}))
    kube.create(owned_by(owner, pods.config_map("child", namespace, {})))

    kube.delete("ConfigMap", "parent", namespace, propagation="Orphan")
    wait_gone(kube, "ConfigMap", "parent", namespace)

    assert "ownerReferences" not in kube.get("ConfigMap", "child", namespace)["metadata"]


def test_a_child_of_a_dead_uid_is_collected(kube: Kube, namespace: str) -> None:
    owner = kube.create(pods.config_map("parent", namespace, {}))
    kube.delete("ConfigMap", "parent", namespace)
    wait_gone(kube, "ConfigMap", "parent", namespace)

    kube.create(owned_by(owner, pods.config_map("child", namespace, {})))  # accepted: nobody checks the uid

    wait_gone(kube, "ConfigMap", "child", namespace)
