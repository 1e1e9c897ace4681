"""The variables of `task.env`: what each becomes, one row each. A new one is a row, and a line of the template."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from speechless.arguments import did_you_mean
from speechless.contract import PROMPT_TYPES
from speechless.finetune.older import DEEPSPEED, TRUTH
from speechless.finetune.taskenv import TaskEnv


class Kind(Enum):
    """How a value is written."""

    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole number"
    TRUTH = "true or false"
    FLAGS = "flags"
    """Whole flags, in words as a shell splits them."""


class Use(Enum):
    """What reads it."""

    TRAINER = "trainer"
    PLACES = "places"
    """Every command, from the environment."""
    MERGE = "merge"
    MOE = "moe"
    """The command moe, by `run_moe.sh`."""
    PASSED = "passed on"
    """Other programs, from the environment."""
    SERVE = "serve"
    """Scripts that serve the merged model."""


@dataclass(frozen=True)
class Variable:
    """A variable."""

    name: str
    becomes: str
    """What for, in one line; of the trainer's: its flag, without dashes, or a text for flags."""
    kind: Kind = Kind.TEXT
    default: str = ""
    """In the template; empty: it is empty there, or the template does not have it."""
    use: Use = Use.TRAINER
    refused: Callable[[str], str] = lambda value: ""
    """Why a value is refused; empty: it is not."""
    adapters: bool = False
    """Whether it is of adapters, and does not count with FULL_FINETUNE."""
    whole: str = ""
    """The flag that may stand in the value, too."""
    assumed: str = ""
    """What scripts of earlier versions do without it."""


def _anything(why: str) -> Callable[[str], str]:
    return lambda value: why if value else ""


_GPUS = "training on several GPUs is not offered yet: set 1, or leave it out"
N, W, T, F = Kind.NUMBER, Kind.WHOLE, Kind.TRUTH, Kind.FLAGS
VARIABLES: tuple[Variable, ...] = (
    # Places.
    Variable("MODELS_ROOT_DIR", "where models are looked for", use=Use.PLACES,
             default="/opt/local/llm_models/huggingface.co"),
    Variable("SPEECHLESS_DATA_DIR", "where data are looked for", use=Use.PLACES,
             default="/opt/local/datasets/speechless_data"),
    Variable("SPEECHLESS_ROOT", "the checkout whose template 'init' takes", use=Use.PLACES),
    Variable("BASE_MODEL_PATH", "model_name_or_path"),
    Variable("TEST_MODEL_PATH", "where the merged model goes", use=Use.MERGE, default="./merged"),
    Variable("TASK_CHECKPOINT_DIR", "where the adapter that is merged lies", use=Use.MERGE, default="$OUTPUT_DIR"),
    Variable("OUTPUT_DIR", "output_dir", default="./outputs"),
    Variable("TASK_NAME", "task_name"),
    # Data.
    Variable("DATASET", "dataset", default="./dataset"),
    Variable("DATASET_CONFIG", "dataset_config"),
    Variable("DATASET_SPLIT", "dataset_split"),
    Variable("DATASET_FORMAT", "dataset_format", default="auto"),
    Variable("PROMPT_TYPE", "prompt_type",
             refused=lambda value: "" if value in ("", *PROMPT_TYPES) else f"there are {', '.join(PROMPT_TYPES)}"),
    Variable("CHAT_TEMPLATE", "chat_template"),
    Variable("EOS_TOKEN", "eos_token"),
    Variable("BAD_ROWS", "bad_rows", default="stop"),
    Variable("MAX_TRAIN_SAMPLES", "max_train_samples", N, "0"),
    Variable("EVAL_DATASET_SIZE", "eval_dataset_size", N, "0"),
    Variable("MAX_EVAL_SAMPLES", "max_eval_samples", W, "200"),
    Variable("REMOVE_OVERLENGTH_SAMPLES", "force_remove_overlength_samples", T),
    Variable("PACKING", "packing", T),
    Variable("GROUP_BY_LENGTH", "group_by_length", T),
    # Objective and model.
    Variable("OBJECTIVE", "objective", default="sft"),
    Variable("BITS", "bits", default="auto"),
    Variable("FULL_FINETUNE", "the flag --full_finetune, or nothing", F),
    Variable("LORA_R", "lora_r", W, "32", adapters=True),
    Variable("LORA_ALPHA", "lora_alpha", W, "64", adapters=True),
    Variable("LORA_DROPOUT", "lora_dropout", N, "0.05", adapters=True, assumed="0.05"),
    Variable("LORA_MODULES", "lora_modules", default="all", adapters=True),
    Variable("MODEL_MAX_LENGTH", "model_max_length", W, "2048"),
    Variable("ROPE_SCALING", "rope_scaling"),
    Variable("ROPE_SCALING_FACTOR", "rope_scaling_factor", N),
    Variable("ROPE_THETA", "rope_theta", N),
    Variable("SLIDING_WINDOW", "sliding_window", W),
    Variable("ADD_REASONING_TOKENS", "the flag --add_reasoning_tokens, or nothing", F),
    # Steps.
    Variable("NUM_TRAIN_EPOCHS", "num_train_epochs", N, "3"),
    Variable("NUM_EARLY_STOPPING_TRAIN_EPOCHS", "num_early_stopping_train_epochs", N),
    Variable("PER_DEVICE_TRAIN_BATCH_SIZE", "per_device_train_batch_size", W, "4"),
    Variable("GRADIENT_ACCUMULATION_STEPS", "gradient_accumulation_steps", W, "4"),
    Variable("LEARNING_RATE", "learning_rate", N),
    Variable("LR_SCHEDULER_TYPE", "lr_scheduler_type", default="cosine"),
    Variable("WARMUP_STEPS", "warmup_steps", W, "20"),
    Variable("OPTIM", "optim", default="adamw_torch_fused"),
    Variable("GRADIENT_CHECKPOINTING", "gradient_checkpointing"),
    Variable("NEFTUNE", "the flags --neftune --noise_alpha X", F),
    Variable("SEED", "seed", W, "10042"),
    # When something is measured, logged and kept.
    Variable("EVAL_STEPS", "eval_steps", W),
    Variable("LOAD_BEST_MODEL_AT_END", "load_best_model_at_end", T),
    Variable("LOGGING_STEPS", "logging_steps", W, "1"),
    Variable("SAVE_STRATEGY", "save_strategy", default="steps"),
    Variable("SAVE_STEPS", "save_steps", W, "100"),
    Variable("SAVE_TOTAL_LIMIT", "save_total_limit", W, "2", whole="--save_total_limit"),
    Variable("REPORT_TO", "report_to", default="none"),
    Variable("WANDB_PROJECT", "the project of the tracker that REPORT_TO names", use=Use.PASSED),
    Variable("MISC_PARAMS", "any other flags of the trainer", F),
    # The machine.
    Variable("NUM_GPUS", "nothing but 1", W, use=Use.PASSED, refused=lambda value: "" if value in ("", "1") else _GPUS),
    Variable("MAX_MEMORY_MB", "max_memory_MB", W),
    *(
        Variable(name, "the flag --deepspeed FILE", F, refused=_anything(DEEPSPEED))
        for name in ("DEEPSPEED", "DEEPSEED", "DEEPSEED_STAGE2")
    ),
    Variable("RAY_memory_monitor_refresh_ms", "Ray's own, passed on", W, use=Use.PASSED),
    # Of other commands.
    Variable("NUM_EXPERTS", "num_experts", W, "8", use=Use.MOE),
    Variable("TOPK", "topk", W, "2", use=Use.MOE),
    Variable("ADAPTER_DIM", "adapter_dim", W, "64", use=Use.MOE),
    Variable("VLLM_PORT", "the port of vllm_serve.sh", W, "12345", use=Use.SERVE),
    Variable("SGLANG_PORT", "the port of run_sglang_serve.sh", W, "30000", use=Use.SERVE),
    Variable("TENSOR_PARALLEL_SIZE", "on how many GPUs these two spread the model", W, "1", use=Use.SERVE),
)  # fmt: skip
BY_NAME = {row.name: row for row in VARIABLES}


def problems(found: TaskEnv, environment: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the values that a training would read, each as `line N: NAME=value: why`.

    Also a value whose rest stands outside of quotes: bash would run that, and the variable would not be set.
    """
    for each in found.unread:
        if each.command and each.name in BY_NAME:
            yield f"line {each.line}: {each.name}: {each.why}: put the whole value in quotes"
    for row in VARIABLES:
        value = _value(row, found, environment)
        why = row.refused(value) or ("" if not value else _mistyped(row, value))
        if why:
            yield f"{_place(row.name, found)}{row.name}={value}: {why}"


def nearest(name: str) -> str:
    """The variable that was meant by a name that is none, in words; empty: the name is known, or nothing is near."""
    return "" if name in BY_NAME else did_you_mean(name, BY_NAME)


def arguments(found: TaskEnv, environment: Mapping[str, str]) -> list[str]:
    """The trainer's command line, as `run_finetune.sh` of the template makes it.

    ValueError for a variable of the trainer that is set by a line which is not read.
    """
    made: list[str] = []
    full = bool(_value(BY_NAME["FULL_FINETUNE"], found, environment))
    for row in VARIABLES:
        if row.use is not Use.TRAINER or (row.adapters and full):
            continue
        if (unread := found.unknown(row.name)) and row.name != "TASK_NAME":
            raise ValueError(f"line {unread.line}: {row.name}: {unread.why}")
        if row.name == "SAVE_STEPS" and _value(BY_NAME["SAVE_STRATEGY"], found, environment) not in (
            "",
            "steps",
        ):
            continue  # both have always been set
        made += _words(row, _value(row, found, environment) or row.assumed)
    return made


def assignments(changes: Iterable[str]) -> Iterator[str]:
    """What to set for flags of the trainer, each as NAME=value; a flag without a variable is one of MISC_PARAMS.

    >>> list(assignments(["--optim sgd --seed 3", "--pure_bf16", "without --full_finetune (LoRA)"]))
    ['OPTIM=sgd', 'SEED=3', 'MISC_PARAMS=--pure_bf16', 'FULL_FINETUNE=']
    """
    by_flag = {row.becomes: row.name for row in VARIABLES if row.use is Use.TRAINER}
    for change in changes:
        if change.startswith("without --"):
            yield f"{change.split()[1].removeprefix('--').upper()}="
            continue
        for word in change.split("--")[1:]:
            flag, _, value = word.strip().partition(" ")
            yield f"{by_flag[flag]}={value}" if flag in by_flag else f"MISC_PARAMS=--{word.strip()}"


def _words(row: Variable, value: str) -> list[str]:
    """Flags of the trainer."""
    if not value:
        return []
    match row.kind:
        case Kind.FLAGS:
            return value.split()
        case Kind.TRUTH:
            return {"true": [f"--{row.becomes}"], "false": []}.get(
                TRUTH.get(value.lower(), ""), [f"--{row.becomes}", value]
            )
        case _:
            return [f"--{row.becomes}", value]


def _value(row: Variable, found: TaskEnv, environment: Mapping[str, str]) -> str:
    """The value, without the flag that may stand before it."""
    value = found.values.get(row.name, "" if found.unknown(row.name) else environment.get(row.name, ""))
    return value.removeprefix(row.whole).strip() if row.whole else value


def _mistyped(row: Variable, value: str) -> str:
    try:
        match row.kind:
            case Kind.NUMBER:
                float(value)
            case Kind.WHOLE:
                int(value)
            case Kind.TRUTH:
                if value.lower() not in TRUTH:
                    raise ValueError
    except ValueError:
        return f"must be {row.kind.value}" if row.kind is Kind.TRUTH else f"must be a {row.kind.value}"
    return ""


def _place(name: str, found: TaskEnv) -> str:
    return f"line {found.lines[name]}: " if name in found.lines else ""
