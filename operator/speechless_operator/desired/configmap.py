"""The ConfigMap that holds a stage's spec."""

from __future__ import annotations

from collections.abc import Mapping

from speechless.contract.model import ContractModel
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.pod import SPEC_FILE


def config_map(
    owner: Owner, name: str, stage: ContractModel, *, labels: Mapping[str, str] | None = None
) -> Object:
    """Immutable: another spec is another ConfigMap, and kubelets need not watch it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(name, labels=labels),
        "immutable": True,
        "data": {SPEC_FILE: stage.to_json(indent=2)},
    }
