"""The rules of the operator's role, made from the table of child kinds: no secrets, no wildcards.

What is not here is in the chart's templates, as it is bound otherwise: the Lease by its name, the CRDs by theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

from speechless_operator.api.kinds import GROUP, KINDS
from speechless_operator.desired.children import CHILDREN
from speechless_operator.desired.objects import Object


def rules() -> list[Object]:
    """For a Role in each watched namespace, or a ClusterRole."""
    ours = [kind.plural for kind in KINDS.values()]
    return [
        # delete: spec.ttlSecondsAfterFinished.
        _rule(GROUP, ours, ("get", "list", "watch", "delete")),
        _rule(GROUP, (f"{plural}/status" for plural in ours), ("patch",)),
        # Where OwnerReferencesPermissionEnforcement is on, for blockOwnerDeletion.
        _rule(GROUP, (f"{plural}/finalizers" for plural in ours), ("update",)),
        *(_rule(child.group, (child.plural,), child.verbs) for child in CHILDREN.values()),
        # The last lines of a stage that failed.
        _rule("", ("pods/log",), ("get",)),
    ]


def _rule(group: str, resources: Iterable[str], verbs: Iterable[str]) -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
