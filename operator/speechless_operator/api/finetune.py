"""FineTune: train a model on a dataset, once."""

from __future__ import annotations

from speechless import contract
from speechless.contract import objectives, training
from speechless_operator.api.base import Cel, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus


class Dataset(DataSource, contract.DatasetSource):
    """The rows to train on: a file (JSON Lines, JSON, CSV, TSV or Parquet), or a folder of them."""


class FineTuneSpec(JobSpec, contract.FineTuneSettings):
    """What to train, on what, and how. Immutable once created, but for suspend and ttlSecondsAfterFinished."""

    model_config = rules(
        training.training_rules,
        objectives.objective_rules,
        Cel(
            rule="!has(self.model.quantization)",
            message="a quantized model cannot be trained: name the model that it was made from",
            field_path=".model",
        ),
        immutable=job_immutable("FineTune"),
    )

    model: ModelSource
    """The model to start from."""
    dataset: Dataset
    """The rows to train on."""


class FineTuneStatus(JobStatus):
    """The state of the training, and its result."""
