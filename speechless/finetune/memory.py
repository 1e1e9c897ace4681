"""What memory a training takes on its device, by component, and what to change where it does not fit. An estimate.

Weights, gradients and the optimizer's state: bytes a parameter (Rajbhandari et al., 2020, arXiv:1910.02054, section
3.1); of 8-bit optimizers Dettmers et al., 2022, arXiv:2110.02861. Activations: bytes a token and layer, and with
gradient checkpointing what goes into each layer and one layer computed again (Korthikanti et al., 2022,
arXiv:2205.05198, sections 4.1 and 5). That paper's 34 h is a model with a plain MLP. Here the coefficients of a gated
MLP are measured, as the tensors that PyTorch keeps for the backward pass of Transformers' Llama (5.17).

Measured against a process's peak on a CPU (tests/library/test_plan.py): what is live is within a third of the estimate
without `allocator`; with it, the peak is within a factor of two. On a GPU (tests/gpu/test_memory.py) PyTorch's own
peak is within a tenth of what is estimated without `libraries`; what a paged optimizer keeps is not in that peak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from speechless.contract import METHODS, Experts, Hyperparameters, Lora, Method, Objective, Qlora
from speechless.contract.objectives import OBJECTIVES
from speechless.finetune.recipes import RECIPES
from speechless.finetune.sizes import Shape
from speechless.output import Document


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer takes."""

    state: float
    """Bytes a trained parameter."""
    halves: bool = False
    """Whether it is half of that with weights in bfloat16."""
    step: int = 0
    """On a GPU, while it steps: how often as much as the gradients."""


OPTIMIZERS = {
    "adamw_torch": Optimizer(8, halves=True, step=1),
    "adamw_torch_fused": Optimizer(8, halves=True),
    "adafactor": Optimizer(0.1),
    "sgd": Optimizer(0, halves=True),
    "adagrad": Optimizer(4, halves=True, step=1),
    "rmsprop": Optimizer(4, halves=True, step=1),
    "adamw_8bit": Optimizer(2),
    "adamw_bnb_8bit": Optimizer(2),
    "ademamix": Optimizer(12),
    "ademamix_8bit": Optimizer(3),
    "lion_8bit": Optimizer(1),
    "lion_32bit": Optimizer(4),
    "paged_adamw_8bit": Optimizer(2),
    "paged_adamw_32bit": Optimizer(8),
    "paged_ademamix_8bit": Optimizer(3),
    "paged_ademamix_32bit": Optimizer(12),
    "paged_lion_8bit": Optimizer(1),
    "paged_lion_32bit": Optimizer(4),
    "rmsprop_bnb": Optimizer(4),
    "rmsprop_bnb_8bit": Optimizer(1),
    "rmsprop_bnb_32bit": Optimizer(4),
}
ACTIVATIONS: dict[tuple[bool, str], tuple[float, float, float]] = {
    (False, "fp32"): (32, 8, 16),
    (False, "bf16"): (34, 8, 14),
    (False, "pure"): (20, 4, 8),
    (True, "fp32"): (25, 8, 16),
    (True, "bf16"): (25, 4, 8),
    (True, "pure"): (25, 4, 8),
}
"""Of (adapters or not, precision): bytes a token and layer, times (hidden size, width of keys, intermediate size)."""
BITS_OF_SCALES = {(4, True): 8 / 64 + 32 / (64 * 256), (4, False): 32 / 64, (8, True): 0.0}
"""Of (bits, doubleQuant): bits a quantized weight beside its own (arXiv:2305.14314, section 3). With 8 bits a scale
is of a whole row."""
_DROPOUT = {"fp32": (40, 4), "bf16": (24, 4), "pure": (24, 4)}
"""More of them with dropout in the adapters, times (hidden size, intermediate size)."""
LOGITS = 14
"""Bytes a token and word of the vocabulary where all logits are there at once: in float32, their softmax and its
gradient. Of a reward model next to nothing: one number a token."""
PIECE = (4096, 32768)
"""Where TRL computes the loss in pieces: tokens and words of the vocabulary of one (trl.kernels.chunked_logprob and
trl.trainer.utils of 1.16)."""
PIECE_BYTES = {"cpu": 33, "fp32": 4, "bf16": 2}
"""Bytes of each of its logits: on a CPU, where PyTorch makes copies, and on a GPU by what is computed in. Measured."""
LIBRARIES = {"cpu": 0.9e9, "cuda": 0.6e9}
"""Bytes of Python and its libraries, and of a GPU's context."""


class Component(Document):
    """A part of the memory."""

    name: str
    bytes: int
    how: str
    """How it is reckoned."""


class Memory(Document):
    """What a training takes, and what there is."""

    components: list[Component]
    total: int
    """Bytes in all."""
    available: int
    """Bytes that the device has."""
    device: str
    fits: bool
    changes: list[str]
    """Flags that make it smaller, one after the other until it fits; empty: it fits, or nothing helps."""
    after: int
    """Bytes in all with those changes."""
    on_gpu: int | None
    """Bytes in all with them on a GPU, in bfloat16, where they are not enough here; null: this is a GPU, or it fits."""


@dataclass(frozen=True)
class Training:
    """What decides the memory."""

    shape: Shape
    objective: Objective
    method: Method
    precision: str
    """fp32, bf16 or pure (weights in bfloat16, too)."""
    hyperparameters: Hyperparameters
    lora: Lora
    length: int
    """Tokens of the longest row."""
    cuda: bool
    fresh: bool = False
    """Whether the weights are new: adapters of them would learn nothing."""
    experts: Experts | None = None
    held: Qlora | None = None
    """How the weights that are not trained are held in fewer bits; None: they are not."""

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again."""
        asked = self.hyperparameters.gradient_checkpointing
        return self.cuda if asked is None else asked

    @property
    def adapters(self) -> bool:
        """Whether adapters are trained, not the model."""
        return METHODS[self.method].adapters

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer's row."""
        return OPTIMIZERS[self.hyperparameters.optim]

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        if self.experts:
            return self.shape.experts(self.experts.num_experts, self.experts.adapter_dim)
        if self.adapters:
            return self.shape.adapters(self.lora.r, self.lora.target_modules)
        return self.shape.parameters


def components(training: Training) -> list[Component]:
    """The parts of the memory on one device, when the most of it is taken.

    That is at the end of a forward pass, when the activations are there and no gradients yet (but for those of the
    batches before it, where several make a step), or in the optimizer's step, when it is the other way around.
    """
    forward, step = _at_the_loss(training), _in_the_step(training)
    peak = max(forward, step, key=lambda parts: sum(part.bytes for part in parts))
    used = LIBRARIES["cuda" if training.cuda else "cpu"]
    return [*_always(training), *peak, _part("libraries", used, "Python, PyTorch and what they load")]


def _part(name: str, size: float, how: str) -> Component:
    return Component(name=name, bytes=round(size), how=how)


def _held(training: Training) -> int:
    """Bytes of a weight that is not quantized."""
    pure = training.precision == "pure"
    return 2 if pure or (training.adapters and training.precision == "bf16") else 4


def _always(training: Training) -> Iterator[Component]:
    """Weights and the optimizer's state."""
    shape, held = training.shape, _held(training)
    yield from _weights(training, held)
    if not training.adapters and RECIPES[training.objective].reference:
        yield _part("reference model", shape.parameters * held, "a second copy, which is not trained")
    trained = training.trained
    if training.adapters:
        yield _part("adapters", trained * 4, f"{trained} parameters of 4 bytes")
    optimizer = training.optimizer
    halved = not training.adapters and training.precision == "pure" and optimizer.halves
    state = optimizer.state / (2 if halved else 1)
    how = f"{training.hyperparameters.optim}: {state:g} bytes a trained parameter"
    yield _part("optimizer", trained * state, how)


def _gradients(training: Training) -> Component:
    trained, each = training.trained, 2 if not training.adapters and training.precision == "pure" else 4
    return _part("gradients", trained * each, f"{trained} trained parameters of {each} bytes")


def _in_the_step(training: Training) -> list[Component]:
    gradients, each = _gradients(training), training.optimizer.step if training.cuda else 0
    if not each:
        return [gradients]
    # PyTorch computes with all parameters at once, and its intermediate results are as large as they are.
    what = f"{training.hyperparameters.optim}: as much as the gradients"
    return [gradients, _part("the optimizer's step", gradients.bytes * each, what)]


def _at_the_loss(training: Training) -> list[Component]:
    shape, given, parts = training.shape, training.hyperparameters, list[Component]()
    if given.gradient_accumulation_steps > 1:
        parts.append(_gradients(training))
    if not training.adapters and training.precision == "bf16":
        how = "autocast keeps a copy of 2 bytes a parameter"
        parts.append(_part("weights in bfloat16", shape.parameters * 2, how))
    tokens = given.per_device_train_batch_size * RECIPES[training.objective].sequences * training.length
    layer = _layer(training)
    if training.checkpointing:
        kept = tokens * (shape.layers * shape.hidden * (2 if _held(training) == 2 else 4) + layer)
        how = f"{tokens} tokens: what goes into {shape.layers} layers, and one layer computed again"
    else:
        kept = tokens * shape.layers * layer
        how = f"{tokens} tokens, {shape.layers} layers, {layer:.0f} bytes each"
    parts += [_part("activations", kept, how), _logits(training, tokens)]
    if not training.cuda:
        freed = tokens * shape.layers * layer
        parts.append(
            _part("allocator", freed, "freed blocks that the C library keeps: as much as all activations")
        )
    return parts


def _weights(training: Training, held: int) -> Iterator[Component]:
    """Those of the model, of `held` bytes but where they are quantized."""
    shape, fewer = training.shape, training.held
    if fewer is None:
        size = shape.parameters * held
        yield Component(name="weights", bytes=size, how=f"{shape.parameters} parameters of {held} bytes")
        return
    quantized = sum(into * out for _, into, out in shape.linear)
    scales = BITS_OF_SCALES[fewer.bits, fewer.double_quant]
    size = quantized * (fewer.bits + scales) / 8
    what = f"{quantized} parameters of {fewer.bits} bits, with {scales:.2g} bits of scales"
    yield Component(name="quantized weights", bytes=round(size), how=what)
    rest = shape.parameters - quantized
    yield Component(name="weights", bytes=rest * held, how=f"{rest} parameters of {held} bytes")
    largest = max((into * out for _, into, out in shape.linear), default=0)
    what = f"the largest layer, {largest} parameters of {held} bytes"
    yield Component(name="a layer while it is computed", bytes=largest * held, how=what)


def _logits(training: Training, tokens: int) -> Component:
    """What the loss takes beside the model."""
    words = training.shape.vocabulary
    if RECIPES[training.objective].whole_logits:
        how = f"{tokens} tokens, {words} numbers, {LOGITS} bytes"
        return Component(name="logits", bytes=tokens * words * LOGITS, how=how)
    each = PIECE_BYTES["cpu" if not training.cuda else "fp32" if training.precision == "fp32" else "bf16"]
    tokens_at_once, words_at_once = min(tokens, PIECE[0]), min(words, PIECE[1])
    how = f"pieces of {tokens_at_once} tokens, {words_at_once} numbers, {each} bytes"
    size = tokens_at_once * words_at_once * each
    if training.cuda and not training.adapters:
        size += words * training.shape.hidden * 4
        how += "; and the output's gradient in float32"
    return Component(name="logits", bytes=size, how=how)


def _layer(training: Training) -> float:
    """Bytes a token that one layer keeps for the backward pass."""
    shape = training.shape
    hidden, keys, inner = ACTIVATIONS[training.adapters, training.precision]
    size = hidden * shape.hidden + keys * shape.kv_width + inner * shape.intermediate
    if training.adapters and training.lora.dropout:
        more = _DROPOUT[training.precision]
        size += more[0] * shape.hidden + more[1] * shape.intermediate
    if training.hyperparameters.attn_implementation == "eager":
        size += 4 * shape.heads * training.length
    return size


def total(training: Training) -> int:
    """Bytes in all."""
    return sum(part.bytes for part in components(training))


def estimate(training: Training, available: int, device: str) -> Memory:
    """The parts, and what to change until they fit into `available` bytes of the `device`."""
    parts = list(components(training))
    size = sum(part.bytes for part in parts)
    changes, after = [], training
    for flags, change in _CHANGES:
        while (
            total(after) > available
            and (smaller := change(after)) is not None
            and total(smaller) < total(after)
        ):
            after = smaller
            told = flags(after)
            changes = [*(each for each in changes if each.split()[0] != told.split()[0]), told]
    return Memory(
        components=parts,
        total=size,
        available=available,
        device=device,
        fits=size <= available,
        changes=changes,
        after=total(after),
        on_gpu=None if training.cuda or total(after) <= available else total(_on_gpu(after)),
    )


def _with(training: Training, **settings: object) -> Training:
    return replace(training, hyperparameters=training.hyperparameters.model_copy(update=settings))


def _on_gpu(training: Training) -> Training:
    return replace(training, cuda=True, precision="bf16")


def _recompute(training: Training) -> Training | None:
    return None if training.checkpointing else _with(training, gradient_checkpointing=True)


def _smaller_batch(training: Training) -> Training | None:
    """Half of the rows at once, in twice as many batches: the same step."""
    given = training.hyperparameters
    batch, least = given.per_device_train_batch_size, OBJECTIVES[training.objective].least_batch
    if batch % 2 or batch // 2 < least:
        return None
    twice = given.gradient_accumulation_steps * 2
    return _with(training, per_device_train_batch_size=batch // 2, gradient_accumulation_steps=twice)


def _fused(training: Training) -> Training | None:
    """The same steps without intermediate results of all parameters."""
    able = training.cuda and training.hyperparameters.optim == "adamw_torch"
    return _with(training, optim="adamw_torch_fused") if able else None


def _smaller_optimizer(training: Training) -> Training | None:
    able = training.cuda and training.hyperparameters.optim in ("adamw_torch", "adamw_torch_fused")
    return _with(training, optim="paged_adamw_8bit") if able else None


def _rounded(training: Training) -> Training | None:
    able = training.cuda and not training.adapters and training.precision == "bf16"
    return replace(training, precision="pure") if able else None


def _adapters(training: Training) -> Training | None:
    if training.adapters or training.fresh:
        return None
    return replace(
        training, method=Method.LORA, precision="bf16" if training.precision == "pure" else training.precision
    )


def _fewer_bits(training: Training) -> Training | None:
    able = training.cuda and training.method is Method.LORA
    return replace(training, method=Method.QLORA, held=Qlora()) if able else None


def _shorter(training: Training) -> Training | None:
    half = training.length // 2
    return replace(_with(training, max_length=half), length=half) if half >= 256 else None


def _batch_flags(training: Training) -> str:
    given = training.hyperparameters
    return (
        f"--per_device_train_batch_size {given.per_device_train_batch_size} "
        f"--gradient_accumulation_steps {given.gradient_accumulation_steps}"
    )


_CHANGES: tuple[tuple[Callable[[Training], str], Callable[[Training], Training | None]], ...] = (
    (lambda after: "--gradient_checkpointing true", _recompute),
    (_batch_flags, _smaller_batch),
    (lambda after: "--optim adamw_torch_fused", _fused),
    (lambda after: "--optim paged_adamw_8bit", _smaller_optimizer),
    (lambda after: "--pure_bf16", _rounded),
    (lambda after: "without --full_finetune (LoRA)", _adapters),
    (lambda after: "--bits 4", _fewer_bits),
    (lambda after: f"--model_max_length {after.length}", _shorter),
)
"""What to change, the least costly first: (how it is said, the change; None: there is nothing to change)."""
