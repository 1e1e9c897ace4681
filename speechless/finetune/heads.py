"""What a model that is trained answers with: how it is read, which of its layers are that, and what its files say.

A reward model is the language model without its last layer, and one linear layer in its place that gives one number at
the last token (Ouyang et al., 2022, arXiv:2203.02155, section 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.contract.modelinfo import Head, judges
from speechless.errors import StageError


@dataclass(frozen=True)
class HeadKind:
    """A row of the table."""

    head: Head
    auto: str
    """The class of Transformers that reads such a model, whatever its architecture."""
    known: str
    """Transformers' table of the architectures that there are such models of, by the class of their configuration."""
    task: str
    """PEFT's `task_type`."""
    pipeline: str
    """What hubs call what it does (`pipeline_tag` of a model card)."""
    writes: bool
    """Whether it writes texts: then it has settings of generation, and tokens that end its turns."""
    settings: tuple[str, ...] = ()
    """Keys of config.json that tell it from the model that it was made from."""
    labels: int | None = None
    """Numbers that it gives a text; None: it gives every word one."""

    def layers(self, model: Any) -> dict[str, Any]:
        """The layers that are new where such a model is made of a language model, by their names; none: {}.

        They are trained and saved whole, whatever the method.
        """
        if self.labels is None:
            return {}
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        return {name: layer for name, layer in plain.named_children() if name != plain.base_model_prefix}

    def settle(self, model: Any, tokenizer: Any | None, folder: Path) -> None:
        """Tell the model which token only fills up a row: of one that judges, the last token before it counts.

        The tokenizer's own, else its end of text. StageError(MODEL_INVALID) if there is neither.
        """
        if self.labels is None:
            return
        config = model.config.get_text_config()
        if tokenizer is not None:
            ids = (tokenizer.pad_token_id, tokenizer.eos_token_id)
            config.pad_token_id = next((each for each in ids if each is not None), None)
        if config.pad_token_id is None:
            what = f"{folder.name}: the tokenizer has neither a padding token nor an end of text"
            hint = "a reward model needs one of them: it finds the last token of a text by it"
            raise StageError(FailureReason.MODEL_INVALID, what, hint)


HEADS = {
    row.head: row
    for row in (
        HeadKind(
            Head.WORDS,
            auto="AutoModelForCausalLM",
            known="MODEL_FOR_CAUSAL_LM_MAPPING",
            task="CAUSAL_LM",
            pipeline="text-generation",
            writes=True,
        ),
        HeadKind(
            Head.SCORE,
            auto="AutoModelForSequenceClassification",
            known="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
            task="SEQ_CLS",
            pipeline="text-classification",
            writes=False,
            settings=("architectures", "id2label", "label2id", "pad_token_id"),
            labels=1,
        ),
    )
}


OUTPUTS = ("lm_head.weight", "lm_head.bias", "embed_out.weight", "output.weight")
"""What Transformers calls the weights that make logits of words, where they are not the embedding's."""
SCORE = "score.weight"
"""What it calls those that make a score of what the last layer gives."""


def kind_of(model: Any) -> HeadKind:
    """The row of a model that was loaded."""
    return HEADS[Head.SCORE if judges(type(model).__name__) else Head.WORDS]


def of_task(task: str | None) -> HeadKind | None:
    """The row of a `task_type` of PEFT, which is missing in an adapter of old; None: there is none."""
    if task is None:
        return HEADS[Head.WORDS]
    return next((row for row in HEADS.values() if row.task == task), None)
