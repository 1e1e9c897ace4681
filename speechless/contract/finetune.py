"""What a fine-tuning can be told: the settings of a FineTune, and the spec of the stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from speechless.contract.dataset import DatasetSource
from speechless.contract.methods import Method, Qlora
from speechless.contract.model import ATOMIC, ContractModel
from speechless.contract.objectives import (
    OBJECTIVES,
    Dpo,
    Kto,
    Objective,
    Orpo,
    Precision,
    Pretrain,
    Reward,
    problem_of,
)
from speechless.contract.prompt_types import PromptType
from speechless.contract.stages import Publishing, Source, StageName
from speechless.contract.tracking import Tracking
from speechless.contract.training import conflict_of


class LongRows(StrEnum):
    """What becomes of a row that is longer than maxLength."""

    CUT = "Cut"
    """Its end is cut off."""
    DROP = "Drop"
    """It is left out."""


class Hyperparameters(ContractModel):
    """By the names of Transformers' TrainingArguments."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """The highest learning rate. Without it, for a whole model and for adapters: SFT 2e-5 and 2e-4, DPO and KTO 1e-6
    and 1e-5, ORPO 8e-6 and 8e-5, Pretrain and Reward 1e-5 and 1e-4."""
    num_train_epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    """Passes over the data."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, instead of numTrainEpochs."""
    per_device_train_batch_size: Annotated[int, Field(ge=1, le=4096)] = 4
    """Rows that a device takes at once."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=65536)] = 1
    """Batches whose gradients are added up before a step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the learning rate rises from 0."""
    warmup_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The same as a part of all steps, without warmupSteps."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """How the learning rate falls."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0
    """Weight decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1
    """Gradients are scaled down to this norm."""
    max_length: Annotated[int, Field(ge=8)] = 1024
    """Tokens of a row. What becomes of longer ones, longRows says."""
    long_rows: LongRows = LongRows.CUT
    """What becomes of a row that is longer than maxLength. Cut: its end is cut off. Drop: it is left out. Both are
    counted in train/rows_cut and train/rows_removed."""
    packing: bool = False
    """Several rows in one of maxLength tokens, so that little is padding. No row sees the tokens of another."""
    group_by_length: bool = False
    """Rows of similar length stand in one batch, so that less is padding."""
    optim: Literal[
        "adamw_torch",
        "adamw_torch_fused",
        "adafactor",
        "sgd",
        "adagrad",
        "rmsprop",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "ademamix",
        "ademamix_8bit",
        "lion_8bit",
        "lion_32bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "paged_ademamix_8bit",
        "paged_ademamix_32bit",
        "paged_lion_8bit",
        "paged_lion_32bit",
        "rmsprop_bnb",
        "rmsprop_bnb_8bit",
        "rmsprop_bnb_32bit",
    ] = "adamw_torch_fused"
    """The optimizer. adamw_torch_fused is AdamW. adamw_torch is the same, and on a GPU takes as much memory as the
    gradients more while it steps. Those of bitsandbytes (8bit, 32bit, ademamix, bnb, paged) need a GPU."""
    neftune_noise_alpha: Annotated[float, Field(gt=0, le=100)] | None = None
    """Noise that is added to the embeddings while training (NEFTune, arXiv:2310.05914); 5 is usual."""
    gradient_checkpointing: bool | None = None
    """Activations are computed again instead of kept: slower, with less memory. Without it: on a GPU, not on a CPU."""
    attn_implementation: Literal["eager", "sdpa", "flex_attention", "flash_attention_2"] | None = None
    """How attention is computed. Without it: as Transformers chooses. flash_attention_2 needs a GPU and its package."""
    use_liger_kernel: bool = False
    """Norms, rotary embeddings and gated MLPs are computed by Liger's kernels (arXiv:2410.10989), which are made to
    take less memory and time. It needs a GPU, the package liger-kernel, and a model that they know."""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two measurements of the loss on held-out rows. Without it, after every epoch."""
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = None
    """The run ends when eval/loss has not fallen in so many evaluations. It needs held-out rows."""
    load_best_model_at_end: bool = False
    """The result is the checkpoint with the least eval/loss, not the last one. One is kept at each evaluation that is
    better than all before it, beside those of checkpoints.keep. It needs held-out rows."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """The seed of all random numbers."""


class Lora(ContractModel):
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685)."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    """Scale: the adapter is multiplied by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    """Part of the adapter's input that is left out while training."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r), which keeps high ranks stable (rsLoRA, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train the length of the weights apart from their direction (DoRA, arXiv:2402.09353): slower, often better."""
    target_modules: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=128)], ...],
        Field(max_length=256),
        ATOMIC,
    ] = ()
    """Names of the layers; without any, every linear layer but the output's."""


class Experts(ContractModel):
    """Low-rank adapters of a gated MLP, several of them, and a router that sends every token to some: what is merged is
    a Mixtral (arXiv:2401.04088), with the base's MLP in each of its experts."""

    num_experts: Annotated[int, Field(ge=2, le=64)] = 8
    """How many there are in each layer."""
    top_k: Annotated[int, Field(ge=1, le=64)] = 2
    """To how many of them a token is sent."""
    adapter_dim: Annotated[int, Field(ge=1, le=1024)] = 64
    """Rank of each."""


class RopeScaling(ContractModel):
    """A model's rotary positions (RoPE), stretched so that it reads longer rows than it was trained for."""

    type: Literal["linear", "dynamic", "yarn"]
    """linear: every position is divided by the factor (arXiv:2306.15595). dynamic: in rows longer than the model's
    context alone; llama.cpp does not know it. yarn: fast rotations stay, slow ones are divided (arXiv:2309.00071)."""
    factor: Annotated[float, Field(gt=1, le=1024)] | None = None
    """How many times the model's context becomes longer. Without it: as many whole times as maxLength needs."""


class Tokenizer(ContractModel):
    """What the trained model's tokenizer does otherwise than the base model's."""

    chat_template: Annotated[str, StringConstraints(min_length=1, max_length=65536)] | None = None
    """A chat template in Jinja, by which messages become text. Without it, the model's own. It is rendered in Jinja's
    sandbox."""
    prompt_type: PromptType | None = None
    """A chat template that has a name, in place of the model's own: alpaca, chatlm (ChatML), llama2, llama3, minicpm,
    qwen2.5, toolllama, raw (the words alone); chat_template is the model's own, whatever prompt_type the rows name.
    Without it: what all rows name in their key prompt_type, or else the model's own."""
    eos_token: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """The token that ends a text, one of the vocabulary. Without it, the tokenizer's own."""
    add_reasoning_tokens: bool = False
    """<think> and </think> become tokens, where they are none yet, and their embeddings are trained, also beside
    adapters."""


class Checkpoints(ContractModel):
    """Written to the store while training, so that another attempt goes on from there."""

    every_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps between two checkpoints. 0: only when the pod is stopped."""
    every_epoch: bool = False
    """One after every epoch, too."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """How many checkpoints are kept."""


class FineTuneSettings(ContractModel):
    """How to train, wherever that is."""

    method: Method = Method.LORA
    """LoRA: low-rank adapters. QLoRA: low-rank adapters on a model that is held in 4 or 8 bits. Full: every weight."""
    objective: Objective = Objective.SFT
    """SFT: supervised fine-tuning, the loss on what the model should answer. DPO: direct preference optimization, the
    better of two answers becomes more likely than the worse. KTO: Kahneman-Tversky optimization, answers that are good
    or bad. ORPO: odds ratio preference optimization, SFT and preference in one. Pretrain: causal language modelling,
    every token of texts. Reward: a reward model, which gives the better of two answers the higher number and writes
    no texts."""
    dpo: Dpo | None = None
    """How to compare answers, for objective DPO."""
    kto: Kto | None = None
    """How to weigh answers, for objective KTO."""
    orpo: Orpo | None = None
    """How to compare answers, for objective ORPO."""
    pretrain: Pretrain | None = None
    """How to begin, for objective Pretrain."""
    reward: Reward | None = None
    """How to score, for objective Reward."""
    precision: Precision = Precision.AUTO
    """How the model is held and computed with. Auto: BF16 on a GPU that computes in bfloat16, else FP32. BF16: with
    adapters the frozen model in bfloat16 and float32 adapters, with method Full float32 weights and bfloat16
    arithmetic. PureBF16: weights, gradients and arithmetic in bfloat16, a whole model in half the memory. The two with
    bfloat16 need a GPU."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How to train."""
    lora: Lora | None = None
    """The adapters' shape, for a method that trains some."""
    qlora: Qlora | None = None
    """How the weights that are not trained are held, for method QLoRA."""
    experts: Experts | None = None
    """Experts instead of lora's adapters, for a method that trains some. The base is a Llama or a Mistral."""
    rope_scaling: RopeScaling | None = None
    """Longer rows than the model was trained for. Without it, the model's positions stay as they are; a model that was
    stretched already keeps what it has."""
    tokenizer: Tokenizer = Tokenizer()
    """Chat template, end of text and new tokens, which the result keeps."""
    checkpoints: Checkpoints = Checkpoints()
    """Checkpoints during the training."""
    tracking: Tracking = Tracking()
    """Trackers that get what is logged. They do not decide the result."""
    merge: bool = True
    """Of adapters: true publishes the merged model, false the adapter alone."""


class FineTuneSpec(FineTuneSettings, Publishing):
    """Train a model on a dataset."""

    stage: Literal[StageName.FINETUNE] = StageName.FINETUNE
    model: Source
    dataset: DatasetSource

    @model_validator(mode="after")
    def _fits(self) -> FineTuneSpec:
        if conflict := conflict_of(self, held_out=self.dataset.eval_fraction > 0):
            raise ValueError(conflict.message)
        options = {row.options: getattr(self, row.options) for row in OBJECTIVES.values() if row.options}
        batch = self.hyperparameters.per_device_train_batch_size
        if problem := problem_of(self.objective, self.method, self.dataset.format, batch, options):
            raise ValueError(problem)
        return self
