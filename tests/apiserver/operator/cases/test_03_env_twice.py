"""spec.pod.env names a variable that the operator sets.

stackabletech/hdfs-operator#497, airbytehq/airbyte-platform#402. Expected: the user's value wins, and it is
there once.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_for

SECRET = {"secretKeyRef": {"name": "login", "key": "home"}}


def environment(kube: Kube, owner: str, kind: str, name: str, namespace: str) -> list[Object]:
    """The variables of a resource's container, as soon as its Job or Deployment is there."""
    found = wait_for(lambda: steps.of(kube, kind, name, namespace, owner), f"the {owner} of {kind} {name}")
    variables: list[Object] = found[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    return variables


@pytest.mark.parametrize("owner", ["Job", "Deployment"])
def test_the_users_value_wins(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, owner: str
) -> None:
    def make(name: str, env: list[Object]) -> str:
        if owner == "Job":
            kube.create(resources.fine_tune(name, namespace, pod={"env": env}))
            return "FineTune"
        kube.create(resources.service(name, namespace, steps.GGUF, pod={"env": env}))
        return "InferenceService"

    kind = make("plain", [])
    ours = [variable["name"] for variable in environment(kube, owner, kind, "plain", namespace)]
    assert "HOME" in ours

    make("mine", [{"name": name, "value": f"/mine/{name}"} for name in [*ours, "MINE"]])
    made = {variable["name"]: variable for variable in environment(kube, owner, kind, "mine", namespace)}
    assert made == {name: {"name": name, "value": f"/mine/{name}"} for name in [*ours, "MINE"]}

    make("secret", [{"name": "HOME", "valueFrom": SECRET}])
    (home,) = (v for v in environment(kube, owner, kind, "secret", namespace) if v["name"] == "HOME")
    assert home == {"name": "HOME", "valueFrom": SECRET}
    kubelet.pod(kind, "secret")
    steps.assert_well(operator)


def test_a_name_that_is_there_twice_is_refused_at_once(kube: Kube, crds: None, namespace: str) -> None:
    twice = {"env": [{"name": "MINE", "value": "1"}, {"name": "MINE", "value": "2"}]}
    with pytest.raises(ApiError, match=r"spec\.pod\.env") as told:
        kube.create(resources.fine_tune("tuned", namespace, pod=twice))
    assert told.value.code == 422
