"""Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290). TRL's DPOTrainer does the steps.

What the model is compared with is the one that it starts from: with adapters that is the model without them, with
method Full a second copy of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from speechless.contract import Dpo
from speechless.data import Placed
from speechless.data.examples import Preference
from speechless.data.render import Renderer
from speechless.finetune.custom import before
from speechless.finetune.recipes import Columns, sft

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")
METRICS = {"train/reward_accuracy": "rewards/accuracies", "train/reward_margin": "rewards/margins"}


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids of a prompt and of two answers to it."""
    renderer = Renderer(tokenizer)

    def encode(row: Placed) -> Columns:
        assert isinstance(row.example, Preference)
        return dict(zip(COLUMNS, renderer.preference(row.example, row.where), strict=True))

    return encode


def cut(columns: Columns, max_length: int) -> Columns | None:
    """The prompt, and of each answer what has room behind it; a pair that is the same then teaches nothing."""
    prompt = columns["prompt_ids"]
    room = max_length - len(prompt)
    if not prompt or room < 1:
        return None
    kept = columns | {name: columns[name][:room] for name in COLUMNS[1:]}
    chosen, rejected = kept["chosen_ids"], kept["rejected_ids"]
    return kept if chosen and rejected and chosen != rejected else None


def size(columns: Columns) -> tuple[int, int]:
    """The prompt is seen twice, once with each answer."""
    learned = len(columns["chosen_ids"]) + len(columns["rejected_ids"])
    return 2 * len(columns["prompt_ids"]) + learned, learned


def asked(columns: Columns) -> tuple[list[int], list[int]]:
    """The prompt, and the better answer."""
    return columns["prompt_ids"], columns["chosen_ids"]


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder."""
    return sft.model(job, dtype)


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are encoded and cut already: the trainer pads them."""
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    options = Dpo.model_validate(run.job.options)
    return before(run.job.extras, Trainer)(
        model=run.model,
        ref_model=None if run.adapters else sft.model(run.job, run.dtype),
        args=DPOConfig(**shared, max_length=None, beta=options.beta, loss_type=[options.loss_type]),
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
