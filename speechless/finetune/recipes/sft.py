"""Supervised fine-tuning: the loss on what the model should answer. TRL's SFTTrainer does the steps.

Which tokens of a row are learned is decided in `speechless.data.render`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from speechless.data import Placed
from speechless.data.render import IGNORED, encoder_for
from speechless.finetune import liger, packing
from speechless.finetune.custom import Tags, before, weighted
from speechless.finetune.recipes import Columns

COLUMNS = ("input_ids", "labels")
PACKED = (*COLUMNS, packing.POSITIONS)
METRICS: dict[str, str] = {}
pack = packing.best_fit


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


def asked(columns: Columns) -> tuple[list[int], list[int]]:
    """Of a conversation, all that comes before its last answer; an answer with nothing before it is asked nothing."""
    ids, labels = columns["input_ids"], columns["labels"]
    end = max(place for place, label in enumerate(labels) if label != IGNORED) + 1
    begin = max((place for place in range(end) if labels[place] == IGNORED), default=-1) + 1
    return ids[:begin], ids[begin:end]


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder, with rows for tokens that are new."""
    from speechless.finetune.models import add_tokens, load_model

    made = load_model(job.model, dtype, job.attention, held=job.held)
    add_tokens(made, job.new_tokens)
    return liger.fused(made) if job.hyperparameters.use_liger_kernel else made


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are cut and labelled already: the trainer pads them."""
    from trl import SFTConfig, SFTTrainer

    packed = packing.POSITIONS in run.rows.column_names
    arguments = SFTConfig(
        **shared,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        # TRL does not know positions, and would remove their column.
        remove_unused_columns=not packed,
    )
    kind: type = SFTTrainer
    if run.job.extras.fixed_tags:
        tags = Tags(run.job.extras, run.tokenizer)
        tags.check(run.rows)
        kind = weighted(kind, tags)
    return before(run.job.extras, kind)(
        model=run.model,
        args=arguments,
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        data_collator=packing.Collator(run.tokenizer, run.model) if packed else None,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
