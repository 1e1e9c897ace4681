"""The chart's policies for the API server: they refuse what they should, tell what to do, and let the operator work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet, succeeded
from tests.apiserver.operator.process import running
from tests.apiserver.operator.test_chart import of_kind, rendered
from tests.support import pods
from tests.support.cluster import Cluster
from tests.support.faultproxy import FaultProxy
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_condition, wait_for

pytestmark = [pytest.mark.usefixtures("crds"), pytest.mark.timeout(180)]
BY, UNTIL = "speechless.dev/gate-override-by", "speechless.dev/gate-override-until"
OVERRIDE = "speechless.dev/gate-override"
MODEL = {"uri": "pvc://models/one.gguf"}
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@contextmanager
def policies(
    cluster: Cluster, namespace: str, *settings: str, works: Callable[[], object]
) -> Iterator[list[Object]]:
    """The policies for one namespace, from when they work: `works` is a write that they refuse."""
    objects = rendered(
        cluster, namespace, f"watchNamespaces={{{namespace}}}", "admissionPolicies.enabled=true", *settings,
        "crds.install=false", release=namespace[-20:].strip("-"),
    )  # fmt: skip
    mine = [obj for obj in objects if obj["kind"] in KINDS]
    assert mine
    kube = cluster.kube
    try:
        for obj in mine:
            kube.apply(obj)
        wait_for(lambda: refusal(works), "the policies to work", timeout=60)
        yield objects
    finally:
        for obj in mine:
            kube.delete(obj["kind"], obj["metadata"]["name"], missing_ok=True)


def refusal(write: Callable[[], object]) -> str:
    """What a policy says to a write; empty where nobody minds."""
    try:
        write()
    except ApiError as error:
        if "ValidatingAdmissionPolicy" not in error.message:
            raise
        return error.message
    return ""


def overridden(namespace: str, **annotations: str) -> Object:
    """A service whose gate is opened by hand."""
    names = {"why": OVERRIDE, "by": BY, "until": UNTIL}
    said = {names[key]: value for key, value in annotations.items()}
    return resources.service("chat", namespace, MODEL, annotations=said)


def account(kube: Kube, name: str, namespace: str) -> Kube:
    """A client as a service account that may change services and pods of the namespace."""
    meta = {"name": name, "namespace": namespace}
    kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    rule = {
        "apiGroups": ["", "speechless.dev"],
        "resources": ["inferenceservices", "pods"],
        "verbs": ["get", "create", "patch", "update"],
    }
    rbac = "rbac.authorization.k8s.io"
    kube.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]})
    kube.create(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
    )
    client = Kube(kube.access.with_token(kube.token(name, namespace)))

    def let_in() -> bool:
        try:
            client.request("GET", client.resource("Pod").path(namespace, "none"))
        except ApiError as error:
            return error.code == 404
        return True

    wait_for(let_in, "the account's rights", timeout=30)
    return client


def me(kube: Kube) -> str:
    """The user that a client is."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = kube.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    return str(answer["status"]["userInfo"]["username"])


def test_an_override_names_who_made_it(cluster: Cluster, kube: Kube, namespace: str) -> None:
    who = me(kube)

    def plain() -> object:
        return kube.create(overridden(namespace, why="because"), dry_run=True)

    with policies(cluster, namespace, works=plain):
        assert f"set the annotation {BY} to {who}, who you are" in refusal(plain)
        assert "who you are" in refusal(
            lambda: kube.create(overridden(namespace, why="because", by="somebody"), dry_run=True)
        )
        assert f"{UNTIL} must be a time such as" in refusal(
            lambda: kube.create(overridden(namespace, why="x", by=who, until="tomorrow"), dry_run=True)
        )
        kube.create(overridden(namespace, why="because", by=who, until="2026-01-31T12:00:00Z"))

        other = account(kube, "other", namespace)

        def change(annotations: dict[str, str | None] | None = None, **spec: object) -> Callable[[], object]:
            patch: Object = {"spec": spec} | (
                {"metadata": {"annotations": annotations}} if annotations else {}
            )
            return lambda: other.patch("InferenceService", "chat", patch, namespace, dry_run=True)

        assert refusal(change(replicas=2)) == "", "what somebody else said stays as it is"
        assert me(other) in refusal(change({OVERRIDE: "another reason"}))
        assert me(other) in refusal(change({BY: None})), "the name cannot be taken off"
        assert me(other) in refusal(change({UNTIL: None})), "nor the end put off, under another's name"
        assert refusal(change({OVERRIDE: "another reason", BY: me(other)})) == ""
        assert refusal(change({OVERRIDE: None})) == "", "a gate may always be closed again"


def test_only_those_who_may_override(cluster: Cluster, kube: Kube, namespace: str) -> None:
    who = me(kube)
    good = overridden(namespace, why="because", by=who)

    def foreign() -> object:
        return kube.create(good, dry_run=True)

    with policies(cluster, namespace, "admissionPolicies.gateOverrides.users={alice}", works=foreign):
        assert "you may not override a gate on this cluster" in refusal(foreign)
        assert "ask one of alice" in refusal(foreign)
        assert refusal(lambda: kube.create(resources.service("chat", namespace, MODEL), dry_run=True)) == ""

        other = account(kube, "other", namespace)
        more = f"admissionPolicies.gateOverrides.groups={{system:serviceaccounts:{namespace}}}"
        for obj in rendered(
            cluster, namespace, f"watchNamespaces={{{namespace}}}", "admissionPolicies.enabled=true", more,
            "admissionPolicies.gateOverrides.users={alice}", "crds.install=false", release=namespace[-20:].strip("-"),
        ):  # fmt: skip
            if obj["kind"] in KINDS:
                kube.apply(obj)
        theirs = overridden(namespace, why="because", by=me(other))
        wait_for(
            lambda: not refusal(lambda: other.create(theirs, dry_run=True)), "its group to count", timeout=60
        )
        assert "you may not" in refusal(foreign)


def labelled(kind: str, name: str, namespace: str, labels: dict[str, str]) -> Object:
    """A ConfigMap or a pod with labels."""
    if kind == "ConfigMap":
        made = pods.config_map(name, namespace, {"a": "b"})
    else:
        made = pods.pod(name, namespace, pods.pod_spec(pods.container("registry.invalid/x", ["true"])))
    made["metadata"]["labels"] = labels
    return made


OURS = [{"speechless.dev/uid": "x"}, {"app.kubernetes.io/managed-by": "speechless-operator"}]


def test_nobody_plants_what_the_operator_makes(cluster: Cluster, kube: Kube, namespace: str) -> None:
    def planted() -> object:
        return kube.create(labelled("ConfigMap", "x", namespace, OURS[0]), dry_run=True)

    with policies(cluster, namespace, works=planted):
        for kind in ("ConfigMap", "Pod"):
            for labels in OURS:
                said = refusal(
                    lambda kind=kind, labels=labels: kube.create(
                        labelled(kind, "x", namespace, labels), dry_run=True
                    )
                )
                assert "are for what the operator makes: remove them" in said
            kube.create(labelled(kind, "mine", namespace, {"app.kubernetes.io/managed-by": "me"}))
            for labels in OURS:
                patch = {"metadata": {"labels": labels}}
                assert refusal(
                    lambda kind=kind, patch=patch: kube.patch(kind, "mine", patch, namespace, dry_run=True)
                )
            assert refusal(
                lambda kind=kind: kube.patch(
                    kind, "mine", {"metadata": {"labels": {"a": "b"}}}, namespace, dry_run=True
                )
            ) == ""  # fmt: skip


def test_the_operator_works_under_them(
    cluster: Cluster,
    kube: Kube,
    namespace: str,
    kubelet: Kubelet,
    fault_proxy: FaultProxy,
    tmp_path: Path,
) -> None:
    def planted() -> object:
        return kube.create(labelled("ConfigMap", "x", namespace, OURS[0]), dry_run=True)

    with policies(cluster, namespace, "ceilings.imagePrefixes=[]", works=planted) as objects:
        for obj in objects:
            if obj["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
                kube.apply(obj)
        token = kube.token(of_kind(objects, "ServiceAccount")[0]["metadata"]["name"], namespace)
        name = of_kind(objects, "Deployment")[0]["metadata"]["name"]
        kubeconfig = fault_proxy.kubeconfig(tmp_path / "as-the-operator", token=token)
        with running(kubeconfig, namespace, tmp_path, f"--lease-name={name}"):
            kube.create(resources.fine_tune("tuned", namespace))
            kube.create(resources.service("chat", namespace, MODEL))
            kubelet.finish(kubelet.pod("FineTune", "tuned"), succeeded())
            wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded")
            kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
            wait_condition(kube, "InferenceService", "chat", namespace, "Ready")


def test_ceilings_are_told_at_once(cluster: Cluster, kube: Kube, namespace: str) -> None:
    before = {"image": "registry.example.evil/x", "env": [{"name": "A", "value": "1"}]}
    kube.create(resources.fine_tune("before", namespace, pod=before))
    kube.create(resources.service("chat", namespace, MODEL, pod=before))

    def asking(**pod: object) -> str:
        return refusal(lambda: kube.create(resources.fine_tune("x", namespace, pod=pod), dry_run=True))

    settings = (
        "ceilings.imagePrefixes={registry.example}", "ceilings.allowEnv=false", "ceilings.allowVolumes=false",
        "ceilings.priorityClasses={low,mid}", "ceilings.serviceAccounts=[]", "ceilings.runtimeClasses=[]",
    )  # fmt: skip

    def high() -> object:
        return kube.create(
            resources.fine_tune("x", namespace, pod={"priorityClassName": "high"}), dry_run=True
        )

    with policies(cluster, namespace, *settings, works=high):
        assert asking() == asking(image="registry.example/team/x:1") == asking(priorityClassName="mid") == ""
        for image in ("registry.example.evil/x", "elsewhere.example/registry.example/x"):
            assert (
                "spec.pod.image is not allowed on this cluster: remove it, or use one below registry.example"
                in asking(image=image)
            )
        for pod, field in (
            ({"env": before["env"]}, "env"),
            ({"envFrom": [{"secretRef": {"name": "x"}}]}, "env"),
            ({"volumes": [{"name": "a", "emptyDir": {}}]}, "volumes"),
            ({"serviceAccountName": "x"}, "serviceAccountName"),
            ({"runtimeClassName": "x"}, "runtimeClassName"),
            ({"priorityClassName": "x"}, "priorityClassName"),
        ):
            assert f"spec.pod.{field}" in asking(**pod)

        # What was there before can still be suspended, scaled and taken away; its pod cannot be changed and keep it.
        kube.patch("FineTune", "before", {"spec": {"suspend": True}}, namespace)
        kube.patch("InferenceService", "chat", {"spec": {"replicas": 2}}, namespace)
        changed = {"spec": {"pod": {"labels": {"a": "b"}}}}
        assert "spec.pod.image" in refusal(
            lambda: kube.patch("InferenceService", "chat", changed, namespace, dry_run=True)
        )
        kube.delete("FineTune", "before", namespace)
