"""Pure decisions, one file a kind: from what was observed to what is to be done. No IO, no clock, no chance."""

from speechless_operator.plan.kinds import plan, references
from speechless_operator.plan.observed import Delete, Event, Observed, Patch, Plan, Refusal

__all__ = ["Delete", "Event", "Observed", "Patch", "Plan", "Refusal", "plan", "references"]
