"""Affinity of a pod, as Kubernetes has it: typed whole, so that a mistake is refused with the resource."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless_operator.api.base import ApiModel, Atomic

Key = Annotated[str, StringConstraints(min_length=1, max_length=316)]
"""Of a label: a prefix of 253 characters, a slash and 63 characters."""
LabelValue = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
_Values = Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Atomic(), Field(max_length=64)]
_Keys = Annotated[list[Key], Atomic(), Field(max_length=16)]
_Weight = Annotated[int, Field(ge=1, le=100)]


class NodeRequirement(ApiModel):
    """One condition that a node must meet."""

    key: Key
    """The label or field."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it is compared with values."""
    values: _Values = []
    """In, NotIn: one or more; Gt, Lt: one number; otherwise none."""


class NodeSelectorTerm(ApiModel):
    """Conditions that must all be met."""

    match_expressions: Annotated[list[NodeRequirement], Atomic(), Field(max_length=16)] = []
    """On the node's labels."""
    match_fields: Annotated[list[NodeRequirement], Atomic(), Field(max_length=16)] = []
    """On the node's fields; `metadata.name` is the one there is."""


class NodeSelector(ApiModel):
    """Which nodes."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Atomic(), Field(min_length=1, max_length=16)]
    """One of them must be met."""


class PreferredNodes(ApiModel):
    """Nodes that are liked better."""

    weight: _Weight
    """How much."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(ApiModel):
    """Which nodes the pod may or should run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Where it may run at all."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNodes], Atomic(), Field(max_length=16)
    ] = []
    """Where it should run if it can."""


class LabelRequirement(ApiModel):
    """One condition on labels."""

    key: Key
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared with values."""
    values: _Values = []
    """In, NotIn: one or more; otherwise none."""


class LabelSelector(ApiModel):
    """Objects by their labels: all conditions must be met."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = {}
    """Labels with these values."""
    match_expressions: Annotated[list[LabelRequirement], Atomic(), Field(max_length=16)] = []
    """Conditions on labels."""


class PodAffinityTerm(ApiModel):
    """Near or far from which pods."""

    topology_key: Key
    """What near means: nodes with the same value of this label, such as `kubernetes.io/hostname`."""
    label_selector: LabelSelector | None = None
    """Which pods."""
    namespaces: Annotated[
        list[Annotated[str, StringConstraints(max_length=63)]], Atomic(), Field(max_length=16)
    ] = []
    """In which namespaces; without it and namespaceSelector, in this one."""
    namespace_selector: LabelSelector | None = None
    """In which namespaces, by their labels."""
    match_label_keys: _Keys = []
    """Labels in which the other pods must equal this one."""
    mismatch_label_keys: _Keys = []
    """Labels in which the other pods must differ from this one."""


class PreferredPods(ApiModel):
    """A place that is liked better, by the pods that run there."""

    weight: _Weight
    """How much."""
    pod_affinity_term: PodAffinityTerm
    """Near or far from which pods."""


class PodAffinity(ApiModel):
    """By which pods the pod may or should run, or not."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], Atomic(), Field(max_length=16)
    ] = []
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredPods], Atomic(), Field(max_length=16)
    ] = []
    """What should hold if it can."""


class Affinity(ApiModel):
    """Where the pod may or should run, as in a pod."""

    node_affinity: NodeAffinity | None = None
    """On which nodes."""
    pod_affinity: PodAffinity | None = None
    """By which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Away from which pods."""
