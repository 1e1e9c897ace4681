"""Where a training reports what it logs: a table, and the settings. A new tracker is a row here and a module of
speechless/finetune/trackers with the name of its flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from speechless.contract.model import ATOMIC, ContractModel


class Tracker(StrEnum):
    """A tracker; what code knows of it is in `TRACKERS`."""

    TENSORBOARD = "TensorBoard"
    MLFLOW = "MLflow"
    WANDB = "WandB"


@dataclass(frozen=True)
class TrackerKind:
    """A tracker."""

    name: Tracker
    flag: str
    """A value of `--report_to`, by Transformers' name; the package that is imported has it, too."""
    distribution: str
    """What `pip install` brings it with."""


TRACKERS: Mapping[Tracker, TrackerKind] = {
    row.name: row
    for row in (
        TrackerKind(Tracker.TENSORBOARD, "tensorboard", "tensorboard"),
        TrackerKind(Tracker.MLFLOW, "mlflow", "mlflow-skinny"),
        TrackerKind(Tracker.WANDB, "wandb", "wandb"),
    )
}


def _each_once(names: tuple[Tracker, ...]) -> tuple[Tracker, ...]:
    if len({*names}) < len(names):
        raise ValueError("a tracker is named twice")
    return names


class Tracking(ContractModel):
    """Trackers that get loss, learning rate and the like while a model is trained."""

    report_to: Annotated[tuple[Tracker, ...], Field(max_length=3), ATOMIC, AfterValidator(_each_once)] = ()
    """TensorBoard: event files in the folder that TENSORBOARD_LOGGING_DIR names. MLflow: the server that
    MLFLOW_TRACKING_URI names. WandB: Weights & Biases, with WANDB_API_KEY. The variables come by pod.env and
    pod.envFrom (docs: how-to, trackers)."""
    run_name: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^[A-Za-z0-9_][A-Za-z0-9_ .+@-]*(/[A-Za-z0-9_][A-Za-z0-9_ .+@-]*)*$", max_length=250
            ),
        ]
        | None
    ) = None
    """What trackers call the run. Without it: the resource's namespace and name."""
