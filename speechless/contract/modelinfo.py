"""What model an artifact holds, apart from the container that holds it (`Format`): part of its manifest.

Every field may be missing: it is written where the files say it. Names are those of the field: Hugging Face's
config.json (https://huggingface.co/docs/transformers/main_classes/configuration), the metadata of its model cards
(https://huggingface.co/docs/hub/model-cards), GGUF's keys (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md),
and ModelPack's configuration (https://github.com/modelpack/model-spec/blob/main/docs/config.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from speechless.contract.model import ContractModel, Digest, WholeText

LONGEST_TEXT = 512
"""Characters of a name or a licence."""
WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,63}$"
Word = Annotated[str, StringConstraints(pattern=WORD)]
"""A technical name. Short and plain, because three of them are in every result (`ModelInfo.summary`)."""
Text = Annotated[WholeText, Field(min_length=1, max_length=LONGEST_TEXT)]

GGUF = "gguf"
"""What Transformers and vLLM call the method of GGUF's own types."""


_CLASSIFIES = "ForSequenceClassification"
"""How Transformers calls the architectures that give a text one number or a few, and write none."""


class Head(StrEnum):
    """What a model answers with."""

    WORDS = "language models"
    """A logit of every word, after each token: it writes."""
    SCORE = "reward models"
    """One number for a text: it judges what was written (Ouyang et al., 2022, arXiv:2203.02155)."""
    CLASSES = "classifiers"
    """A logit of each class, for a text."""


class QuantizationInfo(ContractModel):
    """How the weights were rounded to fewer bits. Missing as a whole: they are floats of 16 bits or more."""

    method: Word
    """As `quantization_config.quant_method` of config.json has it: awq, gptq, fp8, compressed-tensors, bitsandbytes,
    mxfp4. Of a GGUF file: gguf."""
    type: Word | None = None
    """What the method calls this kind of it: Q4_K_M (GGUF's file type), nf4 (bitsandbytes), e4m3 (FP8)."""
    bits: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] | None = None
    """Bits that a quantized weight takes, without its scales. Of a GGUF file: the mean over all weights, with them."""
    group_size: Annotated[int, Field(ge=1)] | None = None
    """Weights that share a scale."""

    def said(self) -> str:
        """For a message.

        >>> QuantizationInfo(method="awq", bits=4).said(), QuantizationInfo(method="gguf", type="Q8_0").said()
        ('awq, 4 bits', 'gguf, Q8_0')
        """
        bits = f"{self.bits:.4g} bits" if self.bits else ""
        return ", ".join(filter(None, (self.method, self.type, bits)))


class BaseModelInfo(ContractModel):
    """The model that it was made from (`base_model` of a model card)."""

    name: Text
    """Its URI, or the name that a hub knows it by."""
    digest: Digest | None = None
    """Of what was read, where a stage read it."""


class AdapterInfo(ContractModel):
    """An adapter: weights that are added to those of the base model."""

    type: Word
    """PEFT's `peft_type` in capitals: LORA."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """LoRA's r."""


class ModelInfo(ContractModel):
    """What is known of a model without loading it. Garbage is an error here; readers of files leave it out."""

    architecture: Word | None = None
    """`architectures[0]` of config.json, such as LlamaForCausalLM; `general.architecture` of a GGUF file: llama."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Weights, tied ones once. Of an adapter: its own. Without scales and other tables of a quantization."""
    dtype: Word | None = None
    """The type of most weights, as torch calls it: bfloat16. Of quantized ones, the type that they are computed in."""
    context_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens that it was trained for: `max_position_embeddings`, `<architecture>.context_length`."""
    vocabulary_size: Annotated[int, Field(ge=1)] | None = None
    """Rows of the embedding: `vocab_size`."""
    quantization: QuantizationInfo | None = None
    """How the weights were quantized; missing: they were not."""
    chat_template: bool | None = None
    """Whether its tokenizer has a chat template. Missing: the files have no tokenizer."""
    eos_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=64)
    """The tokens that end an answer: `eos_token_id` of generation_config.json, or of config.json."""
    license: Text | None = None
    """`license` of the model card, `general.license`: an SPDX identifier, or the licence's own name. What is trained or
    quantized has its base model's."""
    base_model: BaseModelInfo | None = None
    """What it was made from."""
    adapter: AdapterInfo | None = None
    """Set: it is an adapter and no whole model."""
    labels: Annotated[int, Field(ge=1)] | None = None
    """Numbers that it gives a text, of a model that judges texts instead of writing them: 1 of a reward model. Of
    config.json, `id2label`."""

    @property
    def head(self) -> Head | None:
        """What it answers with; None: nothing is known of that.

        >>> str(ModelInfo(architecture="LlamaForSequenceClassification").head), ModelInfo().head
        ('reward models', None)
        """
        if self.labels is None and self.architecture is None:
            return None
        if self.labels is None and not judges(self.architecture):
            return Head.WORDS
        # In a result there is no room for the number of classes; what we make are reward models.
        return Head.SCORE if self.labels in (None, 1) else Head.CLASSES

    def summary(self) -> ModelInfo:
        """The part that is told in a result, which has 4 KiB: architecture, parameters, quantization."""
        kept = ("architecture", "parameters", "quantization")
        return ModelInfo(**{name: getattr(self, name) for name in kept})

    def said(self) -> str:
        """One line for people.

        >>> ModelInfo(architecture="LlamaForCausalLM", parameters=1_235_814_400, dtype="bfloat16", license="mit").said()
        'LlamaForCausalLM, 1.2B parameters, bfloat16, license mit'
        """
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.adapter:
            yield f"{self.adapter.type} adapter" + (
                f" of rank {self.adapter.rank}" if self.adapter.rank else ""
            )
        if self.labels:
            yield "reward model" if self.labels == 1 else f"classifier of {self.labels} classes"
        if self.architecture:
            yield self.architecture
        if self.parameters:
            yield f"{param_size(self.parameters)} parameters"
        if self.quantization:
            yield self.quantization.said()
        elif self.dtype:
            yield self.dtype
        if self.context_length:
            yield f"context of {self.context_length} tokens"
        if self.license:
            yield f"license {self.license}"


def judges(architecture: str | None) -> bool:
    """Whether an architecture of config.json is one that gives texts numbers."""
    return (architecture or "").endswith(_CLASSIFIES)


def param_size(parameters: int) -> str:
    """A number of weights as ModelPack's `paramSize`, with one digit after the point at most.

    >>> param_size(6_738_415_616), param_size(8_000_000_000), param_size(134_515_008)
    ('6.7B', '8B', '134.5M')
    """
    for scale, letter in ((10**15, "Q"), (10**12, "T"), (10**9, "B"), (10**6, "M")):
        if parameters >= scale:
            return f"{parameters / scale:.1f}".removesuffix(".0") + letter
    return f"{parameters / 1000:.1f}".removesuffix(".0") + "K"


def _told(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """What a reader of a manifest makes of it. If a part is garbled, nothing is known: the model's files say it.

    Leaving out that part alone would be wrong: without its quantization, a model is one that may be trained.
    """
    try:
        return read(value)
    except ValidationError:
        return None


ToldModel = Annotated[ModelInfo | None, WrapValidator(_told)]
"""In what another version wrote: what cannot be read is not there."""
