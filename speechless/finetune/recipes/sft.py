"""Supervised fine-tuning: the loss on what the model should answer. TRL's SFTTrainer does the steps.

Which tokens of a row are learned is decided in `speechless.data.render`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from speechless.data import Placed
from speechless.data.render import IGNORED, encoder_for
from speechless.finetune.recipes import Columns

COLUMNS = ("input_ids", "labels")
METRICS: dict[str, str] = {}


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids and labels of a conversation or a text."""
    encode = encoder_for(tokenizer)
    return lambda row: dict(zip(COLUMNS, encode(row), strict=True))


def cut(columns: Columns, max_length: int) -> Columns | None:
    """The beginning of the row, if something of it is learned."""
    kept = {name: column[:max_length] for name, column in columns.items()}
    return kept if size(kept)[1] else None


def size(columns: Columns) -> tuple[int, int]:
    """The first token is never predicted, so its label counts for nothing."""
    return len(columns["input_ids"]), sum(label != IGNORED for label in columns["labels"][1:])


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder."""
    from speechless.finetune.models import load_model

    return load_model(job.model, dtype)


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are cut and labelled already: the trainer pads them."""
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        **shared, max_length=None, packing=False, dataset_kwargs={"skip_prepare_dataset": True}
    )
    return SFTTrainer(
        model=run.model,
        args=arguments,
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
