"""Odds ratio preference optimization (Hong et al., 2024, arXiv:2403.07691). TRL's ORPOTrainer does the steps.

The loss on the better answer and, beside it, the odds of the better against the worse one: no second model.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from speechless.contract import Orpo
from speechless.data import Placed
from speechless.data.render import IGNORED
from speechless.finetune.custom import before
from speechless.finetune.recipes import Columns, dpo, sft

COLUMNS = dpo.COLUMNS
METRICS = dpo.METRICS | {"train/log_odds_ratio": "log_odds_ratio"}


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids of a prompt and of two answers to it."""
    return dpo.encoder(tokenizer)


def cut(columns: Columns, max_length: int) -> Columns | None:
    """As for DPO."""
    return dpo.cut(columns, max_length)


def size(columns: Columns) -> tuple[int, int]:
    """As for DPO."""
    return dpo.size(columns)


def asked(columns: Columns) -> tuple[list[int], list[int]]:
    """The prompt, and the better answer."""
    return dpo.asked(columns)


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder."""
    return sft.model(job, dtype)


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are encoded and cut already: they get the columns of TRL's collator, which pads them."""
    # Its warning is for who writes against it; the version is pinned.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class Trainer(ORPOTrainer):  # type: ignore[misc]
        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            """What TRL makes of a prompt and two answers, of their ids."""
            prompt = feature["prompt_ids"]
            made = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
            for side in ("chosen", "rejected"):
                answer = feature[f"{side}_ids"]
                made |= {
                    f"{side}_input_ids": [*prompt, *answer],
                    f"{side}_attention_mask": [1] * (len(prompt) + len(answer)),
                    f"{side}_labels": [IGNORED] * len(prompt) + answer,
                }
            return made

    if run.tokenizer.pad_token_id is None:
        run.tokenizer.pad_token = run.tokenizer.eos_token
    options = Orpo.model_validate(run.job.options)
    return before(run.job.extras, Trainer)(
        model=run.model,
        # Rows are within it already; None would be taken for 512.
        args=ORPOConfig(**shared, max_length=run.job.hyperparameters.max_length, beta=options.beta),
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
