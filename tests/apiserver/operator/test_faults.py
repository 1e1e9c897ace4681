"""What networks, servers, nodes and people do to an operator: nothing is lost, nothing is done twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import Operator, run_to_end, running
from tests.support.cluster import Cluster
from tests.support.explain import condition
from tests.support.faultproxy import FaultProxy
from tests.support.faults import Answer, Drop, ErrorEvent
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(240)


def jobs(kube: Kube, namespace: str) -> list[str]:
    """The names of all Jobs."""
    return [job["metadata"]["name"] for job in kube.list("Job", namespace)]


def made(kube: Kube, namespace: str) -> int:
    """How many pods Jobs have made, also those that are gone by now: of a run that has ended nothing is left."""
    events = kube.list("Event", namespace)
    return sum(
        event.get("count") or 1
        for event in events
        if event["involvedObject"]["kind"] == "Job" and event["reason"] == "SuccessfulCreate"
    )


def test_killed_in_the_middle_it_goes_on_where_it_was(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as first:
        pod = kubelet.pod("FineTune", "tuned")
        kubelet.run(pod)
        wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
        first.stop(signal.SIGKILL)
    kubelet.finish(pod, succeeded())

    with running(cluster.kubeconfig, namespace, tmp_path):  # waits for the dead one's Lease to end
        wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed", timeout=60)

    assert made(kube, namespace) == 1


def test_a_finished_resource_does_not_run_again_though_its_job_is_gone(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
        ended = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")
        wait_for(lambda: jobs(kube, namespace) == [], "its Job to be gone")
        assert operator.stop() == 0

    with running(cluster.kubeconfig, namespace, tmp_path) as again:
        again.wait_leading()
        kube.patch("FineTune", "tuned", {"spec": {"ttlSecondsAfterFinished": 3600}}, namespace)
        seen = wait_object(
            kube,
            "FineTune",
            "tuned",
            namespace,
            lambda o: o["status"]["observedGeneration"] == 2,
            "is observed",
        )
    assert jobs(kube, namespace) == []
    assert condition(seen, "Succeeded") == condition(ended, "Succeeded") | {"observedGeneration": 2}


def test_a_child_that_somebody_deletes_comes_back(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    job = kubelet.pod("FineTune", "tuned")["metadata"]["labels"]["job-name"]
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    wait_for(lambda: kube.find("Service", "chat", namespace), "its Service")
    uids = {kind: kube.get(kind, name, namespace)["metadata"]["uid"] for kind, name in _named(job)}

    for kind, name in _named(job):
        kube.delete(kind, name, namespace)

    for kind, name in _named(job):
        wait_object(
            kube,
            kind,
            name,
            namespace,
            lambda o, kind=kind: o["metadata"]["uid"] != uids[kind],
            "is a new one",
        )


def _named(job: str) -> tuple[tuple[str, str], ...]:
    return ("ConfigMap", job), ("Job", job), ("Service", "chat")


def test_what_another_hand_changed_is_put_right(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")

    kube.patch("Service", "chat", {"spec": {"selector": {"speechless.dev/revision": "other"}}}, namespace)

    wait_object(
        kube,
        "Service",
        "chat",
        namespace,
        lambda s: s["spec"]["selector"]["speechless.dev/revision"] != "other",
        "selects our revision again",
    )


def test_suspend_stops_the_pod_and_resume_starts_another(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace, suspend=True))
    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")
    assert jobs(kube, namespace) == []

    kube.patch("FineTune", "tuned", {"spec": {"suspend": False}}, namespace)
    first = kubelet.pod("FineTune", "tuned")
    kube.patch("FineTune", "tuned", {"spec": {"suspend": True}}, namespace)
    wait_gone(kube, "Pod", first["metadata"]["name"], namespace)
    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")
    kube.patch("FineTune", "tuned", {"spec": {"suspend": False}}, namespace)

    kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
    wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")


def test_a_finished_resource_goes_when_its_time_has_come(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace, ttlSecondsAfterFinished=2))
    kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())

    wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")
    wait_gone(kube, "FineTune", "tuned", namespace, timeout=20)
    wait_for(lambda: jobs(kube, namespace) == [], "its Job to be gone")


def test_the_second_replica_takes_over_at_once_when_the_first_is_stopped(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    with running(cluster.kubeconfig, namespace, tmp_path) as first:
        first.wait_leading()
        with running(cluster.kubeconfig, namespace, tmp_path) as second:
            assert second.metric("speechless_operator_is_leader") == 0
            kube.create(resources.fine_tune("tuned", namespace))
            pod = kubelet.pod("FineTune", "tuned")
            wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False")

            assert first.stop() == 0

            kubelet.finish(pod, succeeded())
            wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", timeout=10)
            second.wait_leading()
    assert made(kube, namespace) == 1


def test_an_unreachable_api_server_costs_the_lease_and_ends_the_process(
    crds: None, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        fault_proxy.fault(Answer(503), path="/leases/")

        assert operator.wait(30) == 1

        assert "was lost" in operator.tail()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_writes_that_fail_for_a_while_are_done_later(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
    code: int,
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        fault_proxy.fault(
            Answer(code, retry_after=1), method="PATCH", path="/(jobs|configmaps|finetunes)/", times=5
        )
        kube.create(resources.fine_tune("tuned", namespace))
        kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
        wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", timeout=60)
    assert made(kube, namespace) == 1


def test_a_write_that_was_done_and_not_answered_is_not_done_twice(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        fault_proxy.fault(Drop("after"), method="PATCH", path="/(jobs|configmaps)/", times=2)
        kube.create(resources.fine_tune("tuned", namespace))
        kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
        wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", timeout=60)
    assert made(kube, namespace) == 1


def test_watches_that_end_in_every_way_are_begun_again(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        wait_for(lambda: fault_proxy.running_watches() >= 10, "all watches to run")
        fault_proxy.cut_watches()
        fault_proxy.fault(Answer(410, "too old resource version"), watch=True, times=5)
        kube.create(resources.fine_tune("tuned", namespace))
        pod = kubelet.pod("FineTune", "tuned")
        fault_proxy.send_error_event()  # 410 in a running watch
        kubelet.finish(pod, succeeded())
        wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", timeout=60)
        assert operator.get("/livez")[0] == 200


def test_what_the_watches_miss_a_resync_finds_and_starts_them_again(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "proxied")
    with running(kubeconfig, namespace, tmp_path, "--resync-seconds=3") as operator:
        operator.wait_leading()
        wait_for(lambda: fault_proxy.running_watches() >= 10, "all watches to run")
        deaf = fault_proxy.fault(Answer(503), path="/finetunes$", watch=True)
        fault_proxy.cut_watches("/finetunes")

        kube.create(resources.fine_tune("tuned", namespace))

        wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", timeout=40)
        assert operator.metric("speechless_operator_resync_missed_total") >= 1
        kube.create(resources.quantization("small", namespace, "tuned"))
        wait_condition(kube, "Quantization", "small", namespace, "Ready", "False", reason="WaitingForInput")
        kube.delete("FineTune", "tuned", namespace)
        gone = "waits for FineTune tuned, which does not exist yet"
        wait_object(
            kube,
            "Quantization",
            "small",
            namespace,
            lambda o: condition(o, "Ready")["message"] == gone,
            "sees the end",
        )
        deaf.remove()
        kube.create(resources.fine_tune("next", namespace))
        wait_condition(kube, "FineTune", "next", namespace, "Reconciling", timeout=40)


def test_a_quiet_cluster_is_not_written_to(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "proxied")
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.fine_tune("waits", namespace, model={"fineTune": {"name": "nobody"}}))
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    with running(kubeconfig, namespace, tmp_path, "--resync-seconds=3") as operator:
        operator.wait_leading()
        kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
        kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
        wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
        wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")
        wait_for(lambda: _percent(kube, namespace) == 100, "the last progress")
        # What was decided before may still be on its way: Events are written when there is time.
        wait_for(lambda: not _writes_until_the_next_resync(operator, fault_proxy), "quiet")
        assert not _writes_until_the_next_resync(operator, fault_proxy)
        assert operator.metric("speechless_operator_resync_missed_total") == 0


def _writes_until_the_next_resync(operator: Operator, proxy: FaultProxy) -> list[str]:
    before = len(_writes(proxy))
    synced = operator.metric("speechless_operator_last_resync_timestamp_seconds")
    wait_for(
        lambda: operator.metric("speechless_operator_last_resync_timestamp_seconds") > synced + 4, "resyncs"
    )
    return _writes(proxy)[before:]


def _percent(kube: Kube, namespace: str) -> int:
    status = kube.get("FineTune", "tuned", namespace)["status"]
    return int(status.get("progress", {}).get("percent", 0))


def _writes(proxy: FaultProxy) -> list[str]:
    return [
        f"{record.request.method} {record.request.path}"
        for record in proxy.records()
        if record.request.method != "GET" and "/leases/" not in record.request.path
    ]


def test_without_the_crds_it_says_what_to_do(crds: None, fault_proxy: FaultProxy, tmp_path: Path) -> None:
    fault_proxy.fault(Answer(404), path="^/apis/speechless.dev/v1alpha1$")

    status, said = run_to_end(fault_proxy.kubeconfig(tmp_path / "proxied"))

    assert status == 1
    assert "does not serve finetunes.speechless.dev" in said
    assert "install the CRDs first" in said
    assert "Traceback" not in said


def test_without_an_api_server_it_says_which(tmp_path: Path, crds: None, fault_proxy: FaultProxy) -> None:
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "proxied")
    fault_proxy.stop()

    status, said = run_to_end(kubeconfig)

    assert status == 1
    assert fault_proxy.url in said
    assert "Traceback" not in said


def test_an_api_server_that_is_busy_when_the_operator_starts_is_waited_for(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    busy = fault_proxy.fault(Answer(503, "the server starts", retry_after=1), method="GET")
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "proxied")
    with running(kubeconfig, namespace, tmp_path, ready=False) as operator:
        wait_for(lambda: "is waited for" in operator.tail(), "the operator to wait", timeout=40)
        assert operator.get("/livez")[0] == 200
        status, said = operator.get("/readyz")
        assert status == 503
        assert fault_proxy.url in said
        busy.remove()
        fault_proxy.fault(Answer(429, "busy", retry_after=1), method="GET", path="^/(apis|api)/", times=8)
        operator.wait_ready()
        operator.wait_leading()


def test_when_its_api_server_refuses_everything_for_a_while_it_goes_on_afterwards(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        kube.create(resources.fine_tune("before", namespace))
        pod = kubelet.pod("FineTune", "before")
        # The Lease is let through: losing it is another test's matter.
        away = fault_proxy.fault(Answer(503), path="^/(?!.*/leases/)")
        fault_proxy.cut_watches()
        kube.create(resources.fine_tune("amid", namespace))
        kubelet.finish(pod, succeeded())
        wait_for(lambda: operator.metric('speechless_operator_watch_failing{kind="Pod",namespace="' + namespace + '"}')
                 == 1, "the watches to be refused")  # fmt: skip
        away.remove()
        wait_condition(kube, "FineTune", "before", namespace, "Succeeded", unless="Failed", timeout=60)
        wait_condition(kube, "FineTune", "amid", namespace, "Reconciling", timeout=60)
        assert operator.get("/livez")[0] == 200
        assert operator.metric("speechless_operator_is_leader") == 1


def test_versions_that_are_too_old_again_and_again_make_no_storm(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    with running(fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path) as operator:
        operator.wait_leading()
        gone = fault_proxy.fault(Answer(410, "too old resource version"), watch=True, path="/(jobs|pods)$")
        before = _lists(fault_proxy)
        fault_proxy.cut_watches("/jobs")
        fault_proxy.cut_watches("/pods")
        wait_for(lambda: _lists(fault_proxy) - before >= 6, "lists")
        assert _lists(fault_proxy) - before <= 12, "each time later: after 0.5, 1, 2, 5 ... s"
        gone.remove()
        kube.create(resources.fine_tune("tuned", namespace))
        wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", timeout=60)


def _lists(proxy: FaultProxy) -> int:
    return len(proxy.records(method="GET", path="/(jobs|pods)$", watch=False))


def test_stopped_after_its_watches_crashed_it_ends_at_once(
    kube: Kube, crds: None, fault_proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    with running(
        fault_proxy.kubeconfig(tmp_path / "proxied"), namespace, tmp_path, "--watch-with=kopf"
    ) as operator:
        operator.wait_leading()
        wait_for(lambda: fault_proxy.running_watches("/finetunes") == 1, "kopf to listen")
        fault_proxy.send_error_event(ErrorEvent(500, "an error that kopf does not survive"), "/finetunes")
        wait_for(
            lambda: operator.metric("speechless_operator_source_restarts_total") >= 1, "kopf to be restarted"
        )
        assert operator.metric('speechless_operator_loop_failures_total{loop="kopf"}') >= 1
        assert operator.stop(seconds=15) == 0
