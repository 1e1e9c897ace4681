"""Pure decisions, one file a kind: from what was observed to what is to be done. No IO, no clock, no chance."""

from speechless_operator.plan.kinds import plan, references
from speechless_operator.plan.observed import At, Delete, Event, Live, Look, Observed, Patch, Plan, Trouble
from speechless_operator.plan.trouble import minimal

__all__ = [
    "At",
    "Delete",
    "Event",
    "Live",
    "Look",
    "Observed",
    "Patch",
    "Plan",
    "Trouble",
    "minimal",
    "plan",
    "references",
]
