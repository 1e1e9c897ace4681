"""The trainer's flags, by the names that task directories have used for years.

A flag is offered when it has an effect. `--bits 4` and its like are refused with a reason rather than ignored.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_snake

from speechless.arguments import Parser, did_you_mean
from speechless.contract import (
    BadRows,
    DatasetFormat,
    FineTuneSettings,
    Hyperparameters,
    Lora,
    Method,
    Objective,
    Precision,
)
from speechless.contract.objectives import OBJECTIVES, problem_of
from speechless.contract.training import conflict_of
from speechless.data import FLAGS
from speechless.data.places import TAKEN, add_part, part_of
from speechless.errors import StageError
from speechless.finetune import options
from speechless.finetune.outputs import Summary
from speechless.store import models
from speechless.store.words import DataPart

_QUANTIZED = {"4", "8"}
_BITS = {"auto": Precision.AUTO, "16": Precision.BF16, "32": Precision.FP32}


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
    precision: Precision
    max_train_samples: float
    eval_dataset_size: float
    max_eval_samples: int | None
    save_steps: int
    save_total_limit: int
    logging_steps: int
    eval_steps: int | None
    restart: bool
    output: str


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m speechless.finetune.finetune", description="Fine-tune a model on rows of text."
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model_name_or_path",
        required=True,
        metavar="MODEL",
        help=f"the base model: a folder, {models.TAKEN}",
    )
    model.add_argument("--bits", default="auto", help="precision: 16 (bfloat16, on a GPU), 32 or auto")
    model.add_argument(
        "--pure_bf16", action="store_true", help="weights in bfloat16, too: a whole model in half the memory"
    )
    model.add_argument("--full_finetune", action="store_true", help="train the whole model, not adapters")
    model.add_argument("--lora_r", type=int, help="rank of the adapters (default: 64)")
    model.add_argument("--lora_alpha", type=int, help="scale of the adapters (default: 16)")
    model.add_argument("--lora_dropout", type=float, help="dropout within the adapters (default: 0)")
    for name in ("use_rslora", "use_dora"):
        options.add_field(model, name, Lora.model_fields[name])
    model.add_argument(
        "--lora_modules",
        help="linear layers that get adapters: all, or names separated by commas (default: all)",
    )

    options.add(parser)

    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        required=True,
        metavar="PATH[,PATH]",
        help="files of rows (.jsonl, .json, .csv, .tsv, .parquet; also with .gz or .zst) or folders of them, with "
        f"commas between them; {TAKEN}",
    )
    add_part(data)
    data.add_argument(
        "--dataset_format", default="auto", metavar="FORMAT", help=f"of the rows: {', '.join(FLAGS)}"
    )
    data.add_argument(
        "--bad_rows",
        choices=[each.value.lower() for each in BadRows],
        default="stop",
        help="a row that does not fit its format: stop before training, or skip and count it",
    )
    for name in ("packing", "group_by_length"):
        options.add_field(data, name, Hyperparameters.model_fields[name])
    data.add_argument("--model_max_length", type=int, default=2048, help="the longest row, in tokens")
    data.add_argument(
        "--max_train_samples",
        type=float,
        default=0,
        help="rows to train on: 0 = all, below 1 = that fraction, from 1 = that many",
    )
    data.add_argument(
        "--eval_dataset_size",
        type=float,
        default=0.02,
        help="rows held out: below 1 = that fraction, from 1 = that many",
    )
    data.add_argument("--max_eval_samples", type=int, help="rows held out at most (default: no limit)")

    run = parser.add_argument_group("run")
    run.add_argument(
        "--output_dir",
        type=Path,
        default=Path("outputs"),
        metavar="DIR",
        help="checkpoints, logs and the result",
    )
    run.add_argument(
        "--learning_rate",
        type=float,
        help="peak learning rate (default: what is usual; "
        + "; ".join(
            f"{row.name.lower()} {row.learning_rate[Method.LORA]:g}, "
            f"with --full_finetune {row.learning_rate[Method.FULL]:g}"
            for row in OBJECTIVES.values()
        )
        + ")",
    )
    run.add_argument("--num_train_epochs", type=float, default=3, help="passes over the rows")
    run.add_argument("--max_steps", type=int, help="optimizer steps instead of epochs")
    run.add_argument(
        "--per_device_train_batch_size", type=int, help="rows at a time on a device (default: 1; kto 2)"
    )
    run.add_argument("--gradient_accumulation_steps", type=int, default=16, help="batches before a step")
    run.add_argument(
        "--lr_scheduler_type",
        default="constant",
        help="learning rate over the steps: linear, cosine, constant or constant_with_warmup",
    )
    run.add_argument(
        "--warmup_steps", type=int, default=0, help="steps in which the learning rate rises to its peak"
    )
    for name in (
        "optim",
        "neftune_noise_alpha",
        "gradient_checkpointing",
        "attn_implementation",
        "early_stopping_patience",
    ):
        options.add_field(run, name, Hyperparameters.model_fields[name])
    run.add_argument("--weight_decay", type=float, default=0, help="AdamW's weight decay")
    run.add_argument("--max_grad_norm", type=float, default=0.3, help="gradients are clipped to this norm")
    run.add_argument("--seed", type=int, default=10042, help="seed of the order of rows and of new weights")
    run.add_argument("--logging_steps", type=int, default=1, help="steps between two lines of the log")
    run.add_argument(
        "--eval_steps", type=int, help="steps between two evaluations (default: after every epoch)"
    )
    run.add_argument(
        "--save_steps",
        type=int,
        default=250,
        help="steps between two checkpoints; 0 = only when interrupted",
    )
    run.add_argument("--save_total_limit", type=int, default=1, help="checkpoints that are kept")
    run.add_argument("--restart", action="store_true", help="train again although the run is complete")
    parser.add_output(Summary)
    return parser


def parse(argv: Sequence[str]) -> Flags:
    """The meaning of a command line; one line on standard error and exit status 2 if it has none."""
    parser = build_parser()
    given = parser.parse([_renamed(word) for word in argv])
    _check_precision(parser, given)
    _check_objective(parser, given)
    _check_numbers(parser, given)
    try:
        flags = _flags(given)
        _check_settings(parser, flags)
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
    """What this trainer computes in."""
    if given.bits in _QUANTIZED:
        parser.error(
            f"--bits {given.bits}: training on a quantized model is not offered yet; use 16, 32 or auto"
        )
    if given.bits not in _BITS:
        parser.error(f"--bits {given.bits}: one of {', '.join(_BITS)}")
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
    method = Method.FULL if given.full_finetune else Method.LORA
    batch = given.per_device_train_batch_size
    if batch is None:
        batch = given.per_device_train_batch_size = OBJECTIVES[objective].least_batch
    if problem := problem_of(
        objective, method, FLAGS[given.dataset_format], OBJECTIVES[objective].least_batch, {}
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
    for name in _LORA:
        if given.full_finetune and getattr(given, name) is not None:
            parser.error(f"--{name} has no effect with --full_finetune: leave one of them out")


def _check_settings(parser: Parser, flags: Flags) -> None:
    """Settings that do not go together, by the same rules as a resource's."""
    made = FineTuneSettings(
        method=flags.method, objective=flags.objective, hyperparameters=flags.hyperparameters
    )
    if conflict := conflict_of(made, held_out=flags.eval_dataset_size > 0):
        name = to_snake(conflict.field.rpartition(".")[2])
        parser.error(f"--{name}: {conflict.message}")


def _check_numbers(parser: Parser, given: argparse.Namespace) -> None:
    """Numbers that mean something."""
    if given.eval_steps is not None and not given.eval_dataset_size:
        parser.error("--eval_steps has no effect without held-out rows: set --eval_dataset_size")
    for name, least in (("logging_steps", 1), ("save_steps", 0), ("save_total_limit", 1), ("eval_steps", 1)):
        if getattr(given, name) is not None and getattr(given, name) < least:
            parser.error(f"--{name}: at least {least}")
    for name in ("max_train_samples", "eval_dataset_size", "max_eval_samples"):
        if (getattr(given, name) or 0) < 0:
            parser.error(f"--{name}: 0 or more")


_LORA = {
    "lora_r": 64,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "lora_modules": "all",
    "use_rslora": False,
    "use_dora": False,
}
"""Flags of adapters, with their defaults."""
_FLAG_OF = {
    "max_length": "model_max_length",
    "r": "lora_r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "target_modules": "lora_modules",
}


def _flags(given: argparse.Namespace) -> Flags:
    lora: dict[str, Any] = {
        name: default if getattr(given, name) is None else getattr(given, name)
        for name, default in _LORA.items()
    }
    modules = () if lora["lora_modules"] == "all" else tuple(filter(None, lora["lora_modules"].split(",")))
    same = {
        name: getattr(given, name)
        for name in Hyperparameters.model_fields
        if hasattr(given, name) and getattr(given, name) is not None
    }
    return Flags(
        model=given.model_name_or_path,
        dataset=given.dataset,
        part=part_of(given.dataset_config, given.dataset_split),
        dataset_format=FLAGS[given.dataset_format],
        bad_rows=BadRows(given.bad_rows.capitalize()),
        output_dir=given.output_dir,
        objective=options.NAMES[given.objective],
        options=options.settings(given, options.NAMES[given.objective]),
        method=Method.FULL if given.full_finetune else Method.LORA,
        hyperparameters=Hyperparameters(**same, max_length=given.model_max_length),
        lora=Lora(
            r=lora["lora_r"],
            alpha=lora["lora_alpha"],
            dropout=lora["lora_dropout"],
            target_modules=modules,
            use_rslora=lora["use_rslora"],
            use_dora=lora["use_dora"],
        ),
        precision=Precision.PURE_BF16 if given.pure_bf16 else _BITS[given.bits],
        max_train_samples=given.max_train_samples,
        eval_dataset_size=given.eval_dataset_size,
        max_eval_samples=given.max_eval_samples,
        save_steps=given.save_steps,
        save_total_limit=given.save_total_limit,
        logging_steps=given.logging_steps,
        eval_steps=given.eval_steps,
        restart=given.restart,
        output=given.output,
    )


def _renamed(word: str) -> str:
    """The one short form that was ever documented."""
    name, equals, value = word.partition("=")
    if name != "--model_max_len":
        return word
    print("--model_max_len is deprecated: use --model_max_length", file=sys.stderr)
    return f"--model_max_length{equals}{value}"
