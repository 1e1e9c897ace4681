"""One of the watched namespaces is deleted.

mongodb/helm-charts#377, nolar/kopf#1145, #1077. Expected: the others go on, and the operator says which it
cannot read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import Another
from tests.apiserver.operator.process import running
from tests.apiserver.operator.test_chart import of_kind, rendered
from tests.support.cluster import Cluster
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube
from tests.support.wait import wait_for, wait_gone

pytestmark = pytest.mark.timeout(240)
IMAGES = ("image.registry=registry.invalid", "image.tag=test")
RIGHTS = ("ServiceAccount", "Role", "RoleBinding")


def rights(cluster: Cluster, kube: Kube, home: str, *namespaces: str, only: str = "") -> str:
    """Give the chart's rights for these namespaces; the account's name. `only`: in this namespace alone."""
    watched = f"watchNamespaces={{{','.join(namespaces)}}}"
    objects = rendered(cluster, home, watched, "crds.install=false", *IMAGES)
    for obj in objects:
        if obj["kind"] in RIGHTS and only in ("", obj["metadata"].get("namespace")):
            kube.apply(obj, force=True)
    return str(of_kind(objects, "ServiceAccount")[0]["metadata"]["name"])


def test_the_others_go_on_while_it_runs_and_after_a_restart(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    fault_proxy: FaultProxy,
    namespace: str,
    another: Another,
    tmp_path: Path,
) -> None:
    gone = another("gone")
    account = rights(cluster, kube, namespace, namespace, gone)
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "account", token=kube.token(account, namespace))
    flags = (f"--namespace={gone}", "--resync-seconds=3")
    with running(kubeconfig, namespace, tmp_path, *flags) as operator:
        steps.works(kube, "first", gone, resources.fine_tune("first", gone))
        kube.delete("Namespace", gone)
        wait_gone(kube, "Namespace", gone)
        fault_proxy.cut_watches()

        steps.works(kube, "later", namespace, resources.fine_tune("later", namespace))
        assert operator.get("/livez")[0] == 200
        operator.stop()

    with running(kubeconfig, namespace, tmp_path, *flags) as again:  # ready
        again.wait_leading()
        steps.works(kube, "restarted", namespace, resources.fine_tune("restarted", namespace))
        steps.assert_well(again)
        assert gone in again.log.read_text(), "it says which one it cannot read"

        # The namespace comes again, and so do its rights: nobody restarts anything.
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": gone}})
        rights(cluster, kube, namespace, namespace, gone, only=gone)
        wait_for(lambda: kube.find("ServiceAccount", "default", gone), "the namespace to be whole")
        steps.works(kube, "back", gone, resources.fine_tune("back", gone))
        steps.assert_well(again)


@pytest.mark.parametrize("there", [False, True], ids=["never made", "without rights"])
def test_a_namespace_that_cannot_be_read_from_the_start(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    fault_proxy: FaultProxy,
    namespace: str,
    another: Another,
    tmp_path: Path,
    there: bool,
) -> None:
    other = another("other") if there else f"{namespace}-none"
    account = rights(cluster, kube, namespace, namespace)
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "account", token=kube.token(account, namespace))
    with running(kubeconfig, namespace, tmp_path, f"--namespace={other}") as operator:
        operator.wait_leading()
        steps.works(kube, "tuned", namespace, resources.fine_tune("tuned", namespace))
        assert other in operator.log.read_text()
        steps.assert_well(operator)


def test_with_no_namespace_that_can_be_read_it_is_not_ready(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    fault_proxy: FaultProxy,
    namespace: str,
    another: Another,
    tmp_path: Path,
) -> None:
    """To work where it can is no reason to call nothing at all ready."""
    home, other = another("home"), another("other")
    account = rights(cluster, kube, home, home)
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "account", token=kube.token(account, home))
    flags = (f"--namespace={other}", f"--lease-namespace={home}")
    with running(kubeconfig, namespace, tmp_path, *flags, ready=False) as operator:
        wait_for(lambda: namespace in operator.log.read_text(), "it to say what it cannot read", timeout=40)
        steps.steady(lambda: operator.get("/readyz")[0] != 200, "it can read nothing: it is not ready")
