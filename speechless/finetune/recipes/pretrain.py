"""Causal language modelling on texts: every token is learned. TRL's SFTTrainer does the steps.

Texts stand one behind the other, each with the end of text, in blocks of the longest length (Brown et al., 2020,
arXiv:2005.14165, appendix B). A block may begin within a text, and its tokens see those of the texts before them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from speechless.contract import Pretrain
from speechless.data import Placed
from speechless.data.render import encoder_for
from speechless.finetune import liger
from speechless.finetune.recipes import Columns, sft

COLUMNS = sft.COLUMNS
PACKED = COLUMNS
METRICS = sft.METRICS


def encoder(tokenizer: Any) -> Callable[[Placed], Columns]:
    """Ids of a text, prompt included; each is its own label."""
    encode = encoder_for(tokenizer)

    def one(row: Placed) -> Columns:
        ids = encode(row)[0]
        return {"input_ids": ids, "labels": list(ids)}

    return one


def cut(columns: Columns, max_length: int) -> Columns | None:
    """Nothing is cut: a text that is longer goes on in the next block."""
    return columns if len(columns["input_ids"]) > 1 else None


def pack(rows: Iterable[Columns], max_length: int) -> Iterator[Columns]:
    """The texts in blocks; the last block may be shorter."""
    ids = list[int]()
    for row in rows:
        ids += row["input_ids"]
        while len(ids) >= max_length:
            yield {"input_ids": ids[:max_length], "labels": ids[:max_length]}
            ids = ids[max_length:]
    if len(ids) > 1:
        yield {"input_ids": ids, "labels": list(ids)}


def size(columns: Columns) -> tuple[int, int]:
    """The first token is never predicted."""
    return sft.size(columns)


def model(job: Any, dtype: Any) -> Any:
    """The model of the folder, or one of its configuration with new weights, made by the seed."""
    if not Pretrain.model_validate(job.options).from_scratch:
        return sft.model(job, dtype)
    from speechless.finetune.models import add_tokens, new_model

    made = new_model(job.model, dtype)
    add_tokens(made, job.new_tokens)
    return liger.fused(made) if job.hyperparameters.use_liger_kernel else made


def trainer(run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
    """As for supervised fine-tuning."""
    return sft.trainer(run, shared, callbacks)
