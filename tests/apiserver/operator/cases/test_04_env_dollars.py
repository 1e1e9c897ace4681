"""The kubelet's expansion of `$` in env values.

kubernetes/kubernetes#101137, #75907, kubermatic/kubermatic#7984. Expected: the container sees the value as
it stands in spec.pod.env.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube
from tests.support.wait import wait_for

VALUES = (
    "$(HOME)", "pa$$word", "$$(HOME)", "$$$(HOME)", "$$$$(HOME)", "price$", "$", "$$", "$$$", "$2b$12$$abc",
    "$($(HOME))", "$(HOME", "$()", "$$()", "$(NOBODY)", "$ (HOME)", "$\u00e9$\U0001f680$(HOME)$", "\n$(HOME)\n$$", "",
)  # fmt: skip


def expanded(text: str, known: Mapping[str, str]) -> str:
    """What a container sees (Kubernetes, "Define Dependent Environment Variables"; EnvVar.value in the API reference).

    `$(NAME)` is the variable's value if one of that name was defined before, and else stays as it is; `$$` is a `$`, so
    that `$$(NAME)` is never expanded; any other `$` stands for itself.
    """
    made, at = [], 0
    while at < len(text):
        rest = text[at:]
        end = rest.find(")")
        if rest.startswith("$$"):
            made.append("$")
            at += 2
        elif rest.startswith("$(") and end > 0:
            name = rest[2:end]
            made.append(known.get(name, rest[: end + 1]))
            at += end + 1
        else:
            made.append(rest[0])
            at += 1
    return "".join(made)


def test_the_rules_themselves() -> None:
    known = {"HOME": "/tmp"}
    given = {
        "$(HOME)/x": "/tmp/x",
        "$$(HOME)": "$(HOME)",
        "$$$(HOME)": "$/tmp",
        "pa$$word": "pa$word",
        "$(NOBODY)": "$(NOBODY)",
        "price$": "price$",
        "$(HOME": "$(HOME",
    }
    assert {text: expanded(text, known) for text in given} == given


def drawn(number: int) -> list[str]:
    """Values of the characters that matter."""
    chance = random.Random(101137)
    alphabet = ["$", "$", "(", ")", "HOME", "V0", "x", " "]
    return ["".join(chance.choices(alphabet, k=chance.randrange(1, 12))) for _ in range(number)]


@pytest.mark.parametrize("owner", ["Job", "Deployment"])
def test_a_value_reaches_the_container_as_it_stands(
    kube: Kube, namespace: str, operator: Operator, owner: str
) -> None:
    values = [*VALUES, *drawn(60 - len(VALUES))]
    env = [{"name": f"V{number}", "value": value} for number, value in enumerate(values)]
    if owner == "Job":
        kind, obj = "FineTune", resources.fine_tune("tuned", namespace, pod={"env": env})
    else:
        kind, obj = "InferenceService", resources.service("tuned", namespace, steps.GGUF, pod={"env": env})
    kube.create(obj)
    (made,) = wait_for(lambda: steps.of(kube, kind, "tuned", namespace, owner), f"the {owner}")
    container = made["spec"]["template"]["spec"]["containers"][0]

    seen: dict[str, str] = {}
    for variable in container["env"]:
        seen[variable["name"]] = expanded(variable.get("value", ""), seen)

    assert {f"V{number}": seen[f"V{number}"] for number in range(len(values))} == {
        f"V{number}": value for number, value in enumerate(values)
    }
    # Commands are expanded, too: nothing that a user wrote is in one.
    words = [*container.get("command", []), *container.get("args", [])]
    assert [word for word in words if "$" in word] == []
