"""Kahneman-Tversky optimization (Ethayarajh et al., 2024, arXiv:2402.01306). TRL's KTOTrainer does the steps.

Each row is an answer that is good or bad. How far the model has moved is estimated from answers to other prompts of the
same batch, so a batch holds at least two rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from speechless.contract import Kto
from speechless.data import Placed
from speechless.data.examples import Rated
from speechless.data.render import IGNORED, encoder_for
from speechless.finetune.custom import before
from speechless.finetune.recipes import Columns, sft

COLUMNS = ("prompt_ids", "completion_ids", "label")
METRICS = {"train/reward_margin": "rewards/margins"}


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids of a prompt and of the answer to it; `label` is a list of one: 1 for a good answer, 0 for a bad one."""
    encode = encoder_for(tokenizer)

    def one(row: Placed) -> Columns:
        assert isinstance(row.example, Rated)
        ids, labels = encode(Placed(row.where, row.example.answer))
        learned = [place for place, label in enumerate(labels) if label != IGNORED]
        begin, end = (learned[0], learned[-1] + 1) if learned else (len(ids), len(ids))
        return {
            "prompt_ids": ids[:begin],
            "completion_ids": ids[begin:end],
            "label": [int(row.example.good)],
        }

    return one


def cut(columns: Columns, max_length: int) -> Columns | None:
    """The prompt, and of the answer what has room behind it."""
    room = max_length - len(columns["prompt_ids"])
    kept = columns | {"completion_ids": columns["completion_ids"][: max(0, room)]}
    return kept if columns["prompt_ids"] and kept["completion_ids"] else None


def size(columns: Columns) -> tuple[int, int]:
    """The prompt is seen again with another row's answer, which is not learned."""
    learned = len(columns["completion_ids"])
    return len(columns["prompt_ids"]) + learned, learned


def asked(columns: Columns) -> tuple[list[int], list[int]]:
    """The prompt, and the answer that was judged, if it is a good one."""
    return columns["prompt_ids"], columns["completion_ids"] if columns["label"][0] else []


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder."""
    return sft.model(job, dtype)


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are encoded and cut already: the collator pairs and pads them."""
    from transformers import Trainer as Base
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    options = Kto.model_validate(run.job.options)
    paired = options.loss_type == "kto"

    class Collator:
        """TRL rotates the answers of neighbouring rows once, before training; here each batch is rotated."""

        def __init__(self) -> None:
            self.inner = DataCollatorForUnpairedPreference(pad_token_id=run.tokenizer.pad_token_id)

        def __call__(self, rows: list[dict[str, Any]]) -> Any:
            answers = [row["completion_ids"] for row in rows]
            others = [*answers[-1:], *answers[:-1]]
            return self.inner(
                [
                    row | {"label": bool(row["label"][0])} | ({"KL_completion_ids": other} if paired else {})
                    for row, other in zip(rows, others, strict=True)
                ]
            )

    class Trainer(KTOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            # Neighbours need not stay together: the collator makes the pairs. So the rows are shuffled as always.
            self.args.train_sampling_strategy = "random"
            return Base._get_train_sampler(self, train_dataset)

    if run.tokenizer.pad_token_id is None:
        run.tokenizer.pad_token = run.tokenizer.eos_token
    return before(run.job.extras, Trainer)(
        model=run.model,
        ref_model=None if run.adapters else sft.model(run.job, run.dtype),
        args=KTOConfig(
            **{**shared, "train_sampling_strategy": "sequential"},
            max_length=None,
            beta=options.beta,
            desirable_weight=options.desirable_weight,
            undesirable_weight=options.undesirable_weight,
            loss_type=options.loss_type,
        ),
        data_collator=Collator(),
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
