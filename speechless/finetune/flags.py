"""The trainer's flags, by the names that task directories have used for years.

A flag is offered when it has an effect; what has none beside another is refused, or told in a line. Older spellings are
in `older.py`.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_snake

from speechless.arguments import Parser, did_you_mean
from speechless.contract import (
    METHODS,
    PROMPT_TYPES,
    BadRows,
    DatasetFormat,
    Experts,
    FailureReason,
    FineTuneSettings,
    Hyperparameters,
    LongRows,
    Lora,
    Method,
    Objective,
    Precision,
    Qlora,
    RopeScaling,
    Tokenizer,
)
from speechless.contract.objectives import OBJECTIVES, problem_of
from speechless.contract.tracking import TRACKERS, Tracking
from speechless.contract.training import conflict_of
from speechless.data import FLAGS
from speechless.data.places import part_of
from speechless.errors import StageError, words_of
from speechless.finetune import custom, older, options, trackers
from speechless.finetune.job import Extras, Predict
from speechless.finetune.parser import EVAL_ROWS, REPORT_TO, SAVE_STEPS, build_parser
from speechless.finetune.recipes import RECIPES
from speechless.store.words import DataPart

__all__ = ["Flags", "build_parser", "parse"]
SHARDS = Extras().max_shard_size
_BITS = {"auto": Precision.AUTO, "16": Precision.BF16, "32": Precision.FP32}
_QUANTIZED = {str(bits): bits for bits in get_args(Qlora.model_fields["bits"].annotation)}
"""Values of `--bits`, as what is computed in and as what is held."""


class Flags(NamedTuple):
    """What a command line means."""

    model: str
    """A word for `speechless.store.models.locate_model`."""
    dataset: str
    """Words for `speechless.data.places.places`."""
    part: DataPart
    """What of it is trained on."""
    dataset_format: DatasetFormat
    bad_rows: BadRows
    output_dir: Path
    objective: Objective
    options: BaseModel | None
    """Those of the objective, such as `contract.Dpo`; None: it has none."""
    method: Method
    hyperparameters: Hyperparameters
    lora: Lora
    experts: Experts | None
    """Experts instead of those adapters."""
    rope_scaling: RopeScaling | None
    tokenizer: Tokenizer
    qlora: Qlora
    precision: Precision
    max_train_samples: float
    eval_dataset_size: float
    max_eval_samples: int | None
    save_steps: int
    save_total_limit: int
    save_every_epoch: bool
    logging_steps: int
    restart: bool
    output: str
    extras: Extras
    tracking: Tracking
    task: str
    """The label of the run; empty: none."""
    of_the_model: Mapping[str, float]
    """Settings of the model's configuration that its own must be equal to."""
    dry_run: bool
    told: tuple[str, ...]
    """What was said otherwise than it is said today, a line each."""


def parse(argv: Sequence[str]) -> Flags:
    """The meaning of a command line; one line on standard error and exit status 2 if it has none."""
    parser = build_parser()
    try:
        today, told = older.translate(argv)
    except older.Problem as problem:
        parser.error(str(problem))
    given = parser.parse(today)
    given.told = told
    _check_precision(parser, given)
    _check_objective(parser, given)
    _check_strategies(parser, given)
    _check_predictions(parser, given)
    _check_loss(parser, given)
    _check_numbers(parser, given)
    try:
        flags = _flags(given)
        _check_settings(parser, flags)
        for line in flags.told:
            print(line, file=sys.stderr)
        return flags
    except StageError as problem:
        parser.error(f"{problem.message} ({problem.hint})")
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        field = to_snake(str(first["loc"][0]))
        owner = OBJECTIVES[options.NAMES[given.objective]]
        of_objective = owner.settings is not None and problem.title == owner.settings.__name__
        name = f"{owner.options}_{field}" if of_objective else _FLAG_OF.get(field, field)
        parser.error(f"--{name}: {first['msg']}")


def _check_precision(parser: Parser, given: argparse.Namespace) -> None:
    """What this trainer computes in, and in how many bits the model is held. Sets the method."""
    if given.bits not in _BITS and given.bits not in _QUANTIZED:
        parser.error(f"--bits {given.bits}: one of {', '.join((*_BITS, *_QUANTIZED))}")
    if given.bits in _QUANTIZED and given.full_finetune:
        parser.error(
            f"--bits {given.bits} and --full_finetune: quantized weights cannot be trained; take --bits 16 or 32, "
            "or adapters"
        )
    adapters = Method.QLORA if given.bits in _QUANTIZED else Method.LORA
    given.method = Method.FULL if given.full_finetune else adapters
    for name in _OF_4_BITS:
        # Task directories have always said them, whatever the bits.
        if getattr(given, name) is not None and given.bits != "4":
            value = str(getattr(given, name)).lower()
            given.told.append(
                f"--{name} {value} has no effect with --bits {given.bits}: it goes with --bits 4"
            )
            setattr(given, name, None)
    if given.pure_bf16 and given.bits not in ("auto", "16"):
        parser.error(f"--pure_bf16 goes with --bits 16, not with --bits {given.bits}")


def _check_objective(parser: Parser, given: argparse.Namespace) -> None:
    """What goes with the objective, the rows and the method."""
    if given.dataset_format not in FLAGS:
        near = did_you_mean(given.dataset_format, FLAGS)
        parser.error(
            f"--dataset_format {given.dataset_format} is not offered{near}; one of {', '.join(FLAGS)}"
        )
    objective = options.NAMES[given.objective]
    batch = given.per_device_train_batch_size
    if batch is None:
        batch = given.per_device_train_batch_size = OBJECTIVES[objective].least_batch
    if problem := problem_of(
        objective, given.method, FLAGS[given.dataset_format], OBJECTIVES[objective].least_batch, {}
    ):
        parser.error(f"--dataset_format {given.dataset_format}: {problem}")
    if problem := options.misplaced(given, objective):
        parser.error(problem)
    if batch < OBJECTIVES[objective].least_batch:
        least = OBJECTIVES[objective].least_batch
        parser.error(
            f"--per_device_train_batch_size {batch}: --objective {given.objective} needs {least} or more"
        )
    if problem := options.without_full(given, objective):
        parser.error(problem)
    experts = [name for name in EXPERTS if getattr(given, name) is not None]
    for name in _LORA:
        if experts and getattr(given, name) is not None:
            parser.error(
                f"--{name} and --{experts[0]}: experts are adapters of their own; leave one of them out"
            )
        if not METHODS[given.method].adapters and getattr(given, name) is not None:
            parser.error(f"--{name} has no effect with --full_finetune: leave one of them out")


def _check_loss(parser: Parser, given: argparse.Namespace) -> None:
    """What the flags of the loss need, and what they go with."""
    file, name = "custom_training_module_file", "custom_trainer_name"
    pairs = (
        (file, name),
        (name, file),
        ("fixed_tag_weight", "fixed_tags"),
        ("allowed_token_weight", "fixed_tags"),
    )
    for one, other in pairs:
        if getattr(given, one) is not None and not getattr(given, other):
            parser.error(f"--{one} goes with --{other}: set both, or leave it out")
    if given.fixed_tags and given.objective != "sft":
        parser.error("--fixed_tags goes with --objective sft: leave one of them out")
    if given.fixed_tags and given.custom_trainer_name:
        parser.error("--fixed_tags and --custom_trainer_name are two losses: leave one of them out")


def _check_settings(parser: Parser, flags: Flags) -> None:
    """Settings that do not go together, by the same rules as a resource's."""
    made = FineTuneSettings(
        method=flags.method,
        objective=flags.objective,
        precision=flags.precision,
        hyperparameters=flags.hyperparameters,
        experts=flags.experts,
        tokenizer=flags.tokenizer,
    )
    if conflict := conflict_of(made, held_out=flags.eval_dataset_size > 0):
        name = to_snake(conflict.field.rpartition(".")[2])
        name = _FLAG_OF.get(name, name)
        parser.error(f"--{name}: {conflict.message}")


def _check_strategies(parser: Parser, given: argparse.Namespace) -> None:
    """When the loss is measured and a checkpoint kept. Sets what was not given."""
    if given.eval_strategy == "no" and given.eval_dataset_size:
        parser.error(
            "--eval_strategy no: rows that are held out would not be measured: leave out --eval_dataset_size"
        )
    if given.eval_dataset_size is None:
        given.eval_dataset_size = 0 if given.eval_strategy == "no" else EVAL_ROWS
    if given.eval_strategy == "steps" and given.eval_steps is None:
        parser.error("--eval_strategy steps needs --eval_steps")
    # Task directories have always said both.
    for name, strategy in (("eval_steps", given.eval_strategy), ("save_steps", given.save_strategy)):
        if strategy in ("no", "epoch") and getattr(given, name) is not None:
            flag = f"--{name.replace('steps', 'strategy')} {strategy}"
            given.told.append(f"--{name} {getattr(given, name)} has no effect with {flag}")
            setattr(given, name, None)
    if given.save_steps is None:
        given.save_steps = SAVE_STEPS if given.save_strategy == "steps" else 0


def _check_numbers(parser: Parser, given: argparse.Namespace) -> None:
    """Numbers that mean something."""
    for name in filter(None, given.report_to.split(",")):
        if name not in REPORT_TO:
            parser.error(
                f"--report_to {name} is not offered{did_you_mean(name, REPORT_TO)}; one of {', '.join(REPORT_TO)}"
            )
    if given.task_name is not None and not re.fullmatch(r"[\w.+@ -]+", given.task_name):
        parser.error(
            f"--task_name {given.task_name!r}: letters, digits, '.', '_' and '-'; it is a part of a file's name"
        )
    _check_shards(parser, given)
    given.warmup_ratio = given.warmup_ratio or None  # older scripts say 0 for none
    if given.rope_scaling_factor is not None and given.rope_scaling is None:
        parser.error("--rope_scaling_factor goes with --rope_scaling: set both, or leave it out")
    early = given.num_early_stopping_train_epochs
    if early is not None and given.max_steps is not None:
        parser.error(
            "--num_early_stopping_train_epochs counts epochs, and --max_steps steps: leave one of them out"
        )
    if early is not None and early > given.num_train_epochs:
        parser.error(
            f"--num_early_stopping_train_epochs {early:g}: more than --num_train_epochs {given.num_train_epochs:g}"
        )
    for name, least in (("logging_steps", 1), ("save_steps", 0), ("save_total_limit", 1)):
        if getattr(given, name) is not None and getattr(given, name) < least:
            parser.error(f"--{name}: at least {least}")
    for name in ("max_train_samples", "eval_dataset_size", "max_eval_samples"):
        if (getattr(given, name) or 0) < 0:
            parser.error(f"--{name}: 0 or more")


def _check_predictions(parser: Parser, given: argparse.Namespace) -> None:
    """What answers to the rows held out need."""
    if not given.do_predict:
        for name in _PREDICT:
            if getattr(given, name) is not None:
                parser.error(f"--{name} goes with --do_predict: set both, or leave it out")
    elif not RECIPES[options.NAMES[given.objective]].asks:
        parser.error(
            f"--do_predict: rows of --objective {given.objective} ask nothing that could be answered"
        )
    elif given.packing:
        parser.error(
            "--do_predict and --packing: rows in one are not answered one by one; leave one of them out"
        )
    elif not given.eval_dataset_size:
        parser.error("--do_predict answers the rows held out: set --eval_dataset_size")


def _check_shards(parser: Parser, given: argparse.Namespace) -> None:
    """How large a file of weights may be. Sets what was not given."""
    size = given.max_shard_size
    if size is None:
        given.max_shard_size = SHARDS
        return
    if not re.fullmatch(r"[1-9][0-9]{0,5}(GB|MB|KB|GiB|MiB|KiB)", size):
        parser.error(f"--max_shard_size {size}: a whole number and its unit, such as 5GB, 500MB or 2GiB")
    if not given.full_finetune:
        given.told.append(f"--max_shard_size {size} has no effect on adapters: theirs is one file")


_PREDICT = tuple(Predict.model_fields)
_LORA = {
    "lora_r": 64,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "lora_modules": "all",
    "use_rslora": False,
    "use_dora": False,
}
"""Flags of adapters, with their defaults."""
EXPERTS = {"num_experts": "num_experts", "topk": "top_k", "adapter_dim": "adapter_dim"}
"""Flags of experts, to their fields."""
_OF_4_BITS = ("quant_type", "double_quant")
"""Flags of `Qlora`'s fields, which say nothing of other bits."""
_FLAG_OF = {
    "max_length": "model_max_length",
    "run_name": "task_name",
    "long_rows": "force_remove_overlength_samples",
    "r": "lora_r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "target_modules": "lora_modules",
    "factor": "rope_scaling_factor",
    "experts": "num_experts",
    "top_k": "topk",
    "objective": "objective",
    "add_reasoning_tokens": "add_reasoning_tokens",
}


def _flags(given: argparse.Namespace) -> Flags:
    lora: dict[str, Any] = {
        name: default if getattr(given, name) is None else getattr(given, name)
        for name, default in _LORA.items()
    }
    modules = () if lora["lora_modules"] == "all" else tuple(filter(None, lora["lora_modules"].split(",")))
    same = _given(given, Hyperparameters.model_fields)
    return Flags(
        model=given.model_name_or_path,
        dataset=given.dataset,
        part=part_of(given.dataset_config, given.dataset_split),
        dataset_format=FLAGS[given.dataset_format],
        bad_rows=BadRows(given.bad_rows.capitalize()),
        output_dir=given.output_dir,
        objective=options.NAMES[given.objective],
        options=options.settings(given, options.NAMES[given.objective]),
        method=given.method,
        hyperparameters=Hyperparameters(
            **same,
            max_length=given.model_max_length,
            long_rows=LongRows.DROP if given.force_remove_overlength_samples else LongRows.CUT,
        ),
        lora=Lora(
            r=lora["lora_r"],
            alpha=lora["lora_alpha"],
            dropout=lora["lora_dropout"],
            target_modules=modules,
            use_rslora=lora["use_rslora"],
            use_dora=lora["use_dora"],
        ),
        experts=_experts(given),
        qlora=Qlora(
            **{name: getattr(given, name) for name in _OF_4_BITS if getattr(given, name) is not None},
            **({"bits": _QUANTIZED[given.bits]} if given.bits in _QUANTIZED else {}),
        ),
        rope_scaling=_rope_scaling(given),
        tokenizer=Tokenizer(
            chat_template=_template(given.chat_template),
            prompt_type=PROMPT_TYPES[given.prompt_type] if given.prompt_type else None,
            eos_token=given.eos_token,
            add_reasoning_tokens=bool(given.add_reasoning_tokens),
        ),
        precision=Precision.PURE_BF16 if given.pure_bf16 else _BITS.get(given.bits, Precision.AUTO),
        max_train_samples=given.max_train_samples,
        eval_dataset_size=given.eval_dataset_size,
        max_eval_samples=given.max_eval_samples,
        save_steps=given.save_steps,
        save_total_limit=given.save_total_limit,
        save_every_epoch=given.save_strategy == "epoch",
        logging_steps=given.logging_steps,
        restart=given.restart,
        output=given.output,
        extras=_extras(given),
        tracking=_tracking(given),
        task=given.task_name or "",
        of_the_model={name: told for name in OWN if (told := getattr(given, name)) is not None},
        dry_run=given.dry_run,
        told=tuple(given.told),
    )


def _experts(given: argparse.Namespace) -> Experts | None:
    """Those that are asked for by their number, or by another of their flags."""
    told = {
        field: getattr(given, flag) for flag, field in EXPERTS.items() if getattr(given, flag) is not None
    }
    return Experts(**told) if told else None


def _rope_scaling(given: argparse.Namespace) -> RopeScaling | None:
    kind, factor = given.rope_scaling, given.rope_scaling_factor
    return RopeScaling(type=kind, factor=factor) if kind else None


def _template(word: str | None) -> str | None:
    """The chat template that a word stands for: itself, or the content of a file. Jinja has braces."""
    if word is None or "{" in word:
        return word
    try:
        return Path(word).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"--chat_template {word}: no Jinja, and no file of it: {words_of(error)}"
        raise StageError(
            FailureReason.INVALID_SPEC, what, "name a Jinja file, or write the template"
        ) from None


OWN = ("rope_theta", "sliding_window")
"""Flags that repeat what the model's configuration says."""


def _extras(given: argparse.Namespace) -> Extras:
    early = given.num_early_stopping_train_epochs
    own: dict[str, Any] = {}
    if given.custom_trainer_name:
        own = custom.trainer_file(given.custom_training_module_file, given.custom_trainer_name)
    for name in ("fixed_tag_weight", "allowed_token_weight"):
        if (weight := getattr(given, name)) is not None:
            own[name] = weight
    return Extras(
        **own,
        fixed_tags=tuple(filter(None, (given.fixed_tags or "").split(","))),
        stop_after_epochs=early if early != given.num_train_epochs else None,
        max_memory_mb=given.max_memory_MB,
        predict=Predict(**_given(given, _PREDICT)) if given.do_predict else None,
        max_shard_size=given.max_shard_size if given.full_finetune else SHARDS,
    )


def _given(given: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: getattr(given, name) for name in names if getattr(given, name, None) is not None}


def _tracking(given: argparse.Namespace) -> Tracking:
    """`all` is what is installed and set up; its line says what that is."""
    words = [*filter(None, given.report_to.split(","))]
    if "all" in words:
        found = trackers.ready(given.output_dir)
        given.told.append(f"--report_to all: {', '.join(found) or 'no tracker is installed and set up'}")
    else:
        found = tuple(name for name, row in TRACKERS.items() if row.flag in words)
    return Tracking(report_to=found, run_name=given.task_name if found else None)
