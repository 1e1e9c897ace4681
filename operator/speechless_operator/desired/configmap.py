"""The ConfigMap that holds a stage's spec."""

from __future__ import annotations

from collections.abc import Mapping

from speechless.contract.model import ContractModel
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.pod import SPEC_FILE


def config_map(
    owner: Owner,
    name: str,
    stage: ContractModel | str,
    *,
    labels: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Object:
    """Immutable: another spec is another ConfigMap, and kubelets need not watch it. `more`: other files in it."""
    text = stage if isinstance(stage, str) else stage.to_json(indent=2)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(name, labels=labels),
        "immutable": True,
        "data": {SPEC_FILE: text, **(more or {})},
    }
