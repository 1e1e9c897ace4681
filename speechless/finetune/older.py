"""Older spellings of the trainer's flags: what each became, one row each.

They are those of earlier task directories, of Transformers' TrainingArguments as it was, and of its renamed settings.
Each is translated with one line, or refused with the reason; none is taken without a word, unless it asks for what is
done anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}
"""Words for a truth value, in small letters."""


class Now(NamedTuple):
    """It is spelt so today."""

    words: str
    """Flags with their values; `{}` stands for the value that was given."""
    beside: tuple[str, ...] = ()
    """Values of the new flag beside which the older one says nothing more."""


class Same(NamedTuple):
    """It asks for what is done anyway."""


class Gone(NamedTuple):
    """It is left out, with one line."""

    why: str


class No(NamedTuple):
    """It is refused."""

    why: str


Outcome = Now | Same | Gone | No


@dataclass(frozen=True)
class Older:
    """An older flag, without its dashes."""

    name: str
    values: Mapping[str, Outcome] = field(default_factory=dict)
    """By value. Where they are true and false, the flag may stand without one, which is true."""
    other: Outcome | None = None
    """For any other value; None: there are no others."""
    needs: str = ""
    """Another flag, without which this one has no effect."""
    unless: str = ""
    """Another flag that says all that this one would."""

    @property
    def truth(self) -> bool:
        """Whether it is a flag of true and false."""
        return set(self.values) == {"true", "false"}


class Problem(Exception):  # noqa: N818 - the line for the user
    """What is wrong with a command line."""


def _value(name: str, new: str) -> Older:
    return Older(name, other=Now(f"--{new} {{}}"))


def _on(name: str, words: str) -> Older:
    """Off is what is done without it."""
    return Older(name, {"true": Now(words), "false": Same()})


def _never(name: str, why: str) -> Older:
    return Older(name, other=No(why))


def _off(name: str, why: str) -> Older:
    return Older(name, {"true": No(why), "false": Same()})


_LATER = "not offered yet"
_GPUS = f"training on several GPUs is {_LATER}: one process trains"
DEEPSPEED = (
    f"DeepSpeed is {_LATER}, and one process trains: --gradient_checkpointing true, --pure_bf16 and "
    "--optim paged_adamw_8bit take less memory, and --dry_run says how much"
)
_DRAWN = "--temperature above 0 draws answers, and 0 takes the likeliest token, always"
_PREDICTS = "predictions take --max_new_tokens, --temperature and --top_p: leave it out"
_ONE_READER = "rows are made into tokens before the training, by as many processes as there are CPUs"

OLDER: tuple[Older, ...] = (
    # Names that changed.
    _value("model_max_len", "model_max_length"),
    _value("max_seq_length", "model_max_length"),
    _value("max_length", "model_max_length"),
    _value("evaluation_strategy", "eval_strategy"),
    _value("lora_target_modules", "lora_modules"),
    _value("per_gpu_train_batch_size", "per_device_train_batch_size"),
    _value("data_seed", "seed"),
    _value("run_name", "task_name"),
    _value("train_file", "dataset"),
    _value("chat_template_path", "chat_template"),
    # Flags of true and false, with and without a value.
    _on("sample_packing", "--packing"),
    _on("packing", "--packing"),
    _on("full_finetune", "--full_finetune"),
    _on("use_rslora", "--use_rslora"),
    _on("use_dora", "--use_dora"),
    _on("add_reasoning_tokens", "--add_reasoning_tokens"),
    _on("use_liger_kernel", "--use_liger_kernel"),
    _on("group_by_length", "--group_by_length"),
    _on("load_best_model_at_end", "--load_best_model_at_end"),
    _on("adam8bit", "--optim adamw_bnb_8bit"),
    Older("neftune", {"true": Now("--neftune_noise_alpha 5.0"), "false": Same()}, unless="noise_alpha"),
    Older("noise_alpha", other=Now("--neftune_noise_alpha {}"), needs="neftune"),
    Older("train_sampling_strategy", {"random": Same(), "group_by_length": Now("--group_by_length")}),
    Older(
        "gradient_checkpointing",
        {"true": Now("--gradient_checkpointing true"), "false": Now("--gradient_checkpointing false")},
    ),
    Older(
        "activation_checkpointing",
        {"true": Now("--gradient_checkpointing true"), "false": Now("--gradient_checkpointing false")},
    ),
    Older("double_quant", {"true": Now("--double_quant true"), "false": Now("--double_quant false")}),
    Older(
        "force_remove_overlength_samples",
        {
            "true": Now("--force_remove_overlength_samples true"),
            "false": Now("--force_remove_overlength_samples false"),
        },
    ),
    # Taken where the GPU and its package are there; which one it is, the log says.
    Older("flash_attention", {"true": Same(), "false": Now("--attn_implementation sdpa")}),
    Older("bf16", {"true": Now("--bits 16", beside=("auto", "16", "4", "8")), "false": Now("--bits 32")}),
    _off("fp16", "float16 is not offered: take bfloat16, --bits 16"),
    # What is done anyway, or is not needed any more.
    Older("do_train", {"true": Same(), "false": No("this command trains: 'speechless eval' evaluates")}),
    Older("do_eval", {"true": Same(), "false": Now("--eval_strategy no")}),
    _on("do_predict", "--do_predict"),
    Older(
        "predict_with_generate",
        {"true": Same(), "false": No("--do_predict generates: leave it out")},
        needs="do_predict",
    ),
    Older("logging_strategy", {"steps": Same()}, other=No("the log is by steps: --logging_steps says how many")),
    Older("ddp_find_unused_parameters", {"false": Same(), "true": Gone("every parameter that is trained is used")}),
    Older("remove_unused_columns", {"true": Same(), "false": Same()}),
    Older("save_safetensors", {"true": Same(), "false": No("weights are written as safetensors, never as pickles")}),
    Older("include_tokens_per_second", {"true": Same(), "false": Same()}),
    Older("include_num_input_tokens_seen", {"true": Same(), "false": Same()}),
    Older("dataloader_num_workers", {"0": Same()}, other=Gone(_ONE_READER)),
    Older("preprocessing_num_workers", other=Gone(_ONE_READER)),
    Older("dataset_num_proc", other=Gone(_ONE_READER)),
    Older("per_device_eval_batch_size", other=Gone("as many rows are measured at once as are trained on")),
    Older("use_auth_token", {"true": Gone("HF_TOKEN is used where it is set"), "false": Same()}),
    Older("half_precision_backend", {"auto": Same()}, other=No("PyTorch's own is used")),
    Older("repeat_steps", {"0": Same()}, other=No("it had no effect: --num_train_epochs repeats the rows")),
    Older("metric_for_best_model", {"loss": Same(), "eval_loss": Same()}, other=No(
        "--load_best_model_at_end takes the least loss on held-out rows, eval_loss")),
    Older("greater_is_better", {"false": Same(), "true": No("the best loss is the least")}),
    # Refused.
    _off("trust_remote_code", "code out of a model's folder is not run: take a model that Transformers knows"),
    _off("mpt", "MPT has no special handling: leave it out; Transformers knows the model"),
    _off("long_lora", f"shifted short attention is {_LATER}: --packing and --gradient_checkpointing save memory"),
    _off("rerope", f"it is {_LATER}: train on rows within the model's context"),
    Older("rerope_window", {"0": Same()}, other=No("it goes with --rerope, which is not offered yet")),
    _off("no_cuda", "CUDA_VISIBLE_DEVICES= (empty) hides the GPUs"),
    _off("use_cpu", "CUDA_VISIBLE_DEVICES= (empty) hides the GPUs"),
    _off("overwrite_output_dir", "--restart removes the earlier run and trains again"),
    _never("resume_from_checkpoint", "the same command goes on from the newest checkpoint by itself"),
    _never("logging_dir", "the log is trainer_log.jsonl in --output_dir; TENSORBOARD_LOGGING_DIR is TensorBoard's"),
    _never("wandb", "--report_to wandb, and the variable WANDB_PROJECT"),
    _never("cache_dir", "HF_HOME is the hub's cache, SPEECHLESS_CACHE_DIR that of buckets"),
    _off("push_to_hub", "'speechless store publish' writes a result to a bucket or a registry"),
    _never("push_to_hub_token", "HF_TOKEN is the hub's token"),
    _never("deepspeed", DEEPSPEED),
    _never("fsdp", _GPUS),
    _never("fsdp_config", _GPUS),
    _never("fsdp_transformer_layer_cls_to_wrap", _GPUS),
    _never("local_rank", _GPUS),
    _never("ray_scope", "a search of hyperparameters is not offered"),
    _never("fp16_opt_level", "float16 is not offered: take bfloat16, --bits 16"),
    _never("torchdynamo", "compiled models are not offered"),
    _off("jit_mode_eval", "compiled models are not offered"),
    _off("use_ipex", "extensions for one maker's CPUs are not used"),
    _never("num_of_sequences", "--packing fills rows of --model_max_length tokens"),
    _never("chars_per_token", "--packing fills rows of --model_max_length tokens"),
    _never("dataset_batch_size", _ONE_READER),
    *(
        _never(name, _PREDICTS)
        for name in ("min_new_tokens", "top_k", "num_beams", "num_beam_groups", "typical_p", "diversity_penalty",
                     "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "penalty_alpha")
    ),
    Older("do_sample", dict.fromkeys(("true", "false"), No(_DRAWN))),
)  # fmt: skip
BY_NAME = {row.name: row for row in OLDER}


def translate(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line in today's words, and a line for each word that was another.

    Problem for one that is refused, or that contradicts another.
    """
    told: list[str] = []
    read = list(_read(argv))
    given = {name for _, name, _ in read}
    made: list[str] = []
    for words, name, value in read:
        row = BY_NAME.get(name)
        if row is None or (row.truth and value is None and words == [f"--{name}"] == _words(row, "true")):
            made += words
            continue
        if row.needs and row.needs not in given:
            raise Problem(f"--{name} goes with --{row.needs}: set both, or leave it out")
        if row.unless and row.unless in given:
            continue
        made += _answer(row, words, _normal(row, value), argv, told)
    return made, told


def _read(argv: Sequence[str]) -> Iterator[tuple[list[str], str, str | None]]:
    """(words, name, value) of each older flag; of every other word (words, "", None)."""
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        row = BY_NAME.get(name) if word.startswith("--") else None
        if row is None:
            yield [word], "" if not word.startswith("--") else name, None
        elif equals:
            yield [word], name, value
        elif words and not words[0].startswith("-" if row.truth else "--"):
            follows = words.pop(0)
            yield [word, follows], name, follows
        elif row.truth:
            yield [word], name, None
        else:
            raise Problem(f"--{name}: expected one argument")


def _normal(row: Older, value: str | None) -> str:
    if not row.truth:
        return value or ""
    known = TRUTH.get((value or "true").lower())
    if known is None:
        raise Problem(f"--{row.name}: {value!r} is neither true nor false")
    return known


def _words(row: Older, value: str) -> list[str]:
    outcome = row.values.get(value, row.other)
    return [part.format(value) for part in outcome.words.split()] if isinstance(outcome, Now) else []


def _answer(row: Older, given: list[str], value: str, argv: Sequence[str], told: list[str]) -> list[str]:
    """The words of today; what is to be said of them goes to `told`."""
    said = " ".join(given)
    match row.values.get(value, row.other):
        case None:
            raise Problem(f"{said}: one of {', '.join(row.values)}")
        case No(why):
            raise Problem(f"{said}: {why}")
        case Gone(why):
            told.append(f"{said} is not needed: {why}")
        case Now(_, beside):
            words = _words(row, value)
            if words == given:
                return words
            stands = _given(argv, words[0]) if words[0] != f"--{row.name}" else None
            if stands is not None and (stands in beside or [words[0], stands] == words):
                return []
            if stands is not None and row.name not in _YIELDS:
                raise Problem(f"{said} and {words[0]} {stands}: leave one of them out")
            if stands is None:
                told.append(f"{said} is deprecated: use {' '.join(words)}")
                return words
            told.append(f"{said} is left out: {words[0]} {stands} is given")
    return []


_YIELDS = ("run_name",)
"""Flags that the new one beside them replaces, whatever its value."""


def _given(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag in a command line; "" where it has none; None where it does not stand there."""
    for place, word in enumerate(argv):
        if word == flag:
            follows = argv[place + 1] if place + 1 < len(argv) else ""
            return "" if follows.startswith("--") else follows
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
