"""A reward model (Ouyang et al., 2022, arXiv:2203.02155, section 3.5). TRL's RewardTrainer does the steps.

The model gives a prompt with an answer one number, and the loss of a pair is -log sigmoid(better - worse): the
comparison of Bradley and Terry (1952). The number is read at the last token, so a text is trained as it is scored
later: as the chat template renders the whole conversation, or as a prompt, an answer and the end of text.
"""

from collections.abc import Callable, Mapping
from typing import Any

from speechless.contract import Reward
from speechless.contract.modelinfo import Head
from speechless.data import Placed
from speechless.data.examples import Message, Preference
from speechless.data.render import IGNORED, Renderer
from speechless.finetune import liger
from speechless.finetune.custom import before
from speechless.finetune.heads import HEADS
from speechless.finetune.recipes import Columns

COLUMNS = ("chosen_ids", "rejected_ids")
METRICS = {
    "train/reward_accuracy": "accuracy",
    "train/reward_margin": "margin",
    "train/reward_mean": "mean_reward",
    "eval/reward_accuracy": "eval_accuracy",
    "eval/reward_margin": "eval_margin",
}


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids of the prompt with each of the two answers; of an answer that shows nothing, none."""
    renderer = Renderer(tokenizer)

    def encode(row: Placed) -> Columns:
        pair = row.example
        assert isinstance(pair, Preference)

        def whole(answer: tuple[Message, ...] | str) -> list[int]:
            ids, labels = renderer.answered(pair.prompt, answer, row.where)
            return ids if any(label != IGNORED for label in labels) else []

        return dict(zip(COLUMNS, (whole(pair.chosen), whole(pair.rejected)), strict=True))

    return encode


def cut(columns: Columns, max_length: int) -> Columns | None:
    """The beginning of both; a pair that is the same then teaches nothing."""
    chosen, rejected = (columns[name][:max_length] for name in COLUMNS)
    if not chosen or not rejected or chosen == rejected:
        return None
    return dict(zip(COLUMNS, (chosen, rejected), strict=True))


def size(columns: Columns) -> tuple[int, int]:
    """No token is predicted; what is learned is one number at the last token of each."""
    return sum(len(columns[name]) for name in COLUMNS), len(COLUMNS)


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder with a head that gives one number: new, unless the folder has a reward model."""
    from speechless.finetune.models import add_tokens, load_model

    made = load_model(job.model, dtype, job.attention, HEADS[Head.SCORE], job.held)
    add_tokens(made, job.new_tokens)
    return liger.fused(made) if job.hyperparameters.use_liger_kernel else made


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """Rows are encoded and cut already: the trainer pads them."""
    from trl import RewardConfig, RewardTrainer

    options = Reward.model_validate(run.job.options)
    made = before(run.job.extras, RewardTrainer)(
        model=run.model,
        args=RewardConfig(
            **shared,
            max_length=None,
            center_rewards_coefficient=options.center_rewards_coefficient or None,
        ),
        train_dataset=run.rows,
        eval_dataset=run.heldout,
        processing_class=run.tokenizer,
        peft_config=run.adapters,
        callbacks=callbacks,
    )
    if run.adapters:
        # PEFT gives adapters float32 beside a model in bfloat16, and the head not: small updates would vanish in it.
        for parameter in made.model.parameters():
            parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    return made
