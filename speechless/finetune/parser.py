"""The parser of the trainer's flags, group by group."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechless.arguments import Parser, number, whole
from speechless.contract import (
    PROMPT_TYPES,
    BadRows,
    Experts,
    Hyperparameters,
    Lora,
    Qlora,
    RopeScaling,
    Tokenizer,
)
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import TRACKERS
from speechless.data import FLAGS
from speechless.data.places import TAKEN, add_part
from speechless.finetune import options
from speechless.finetune.outputs import Summary
from speechless.store import models

EVAL_ROWS, SAVE_STEPS = 0.02, 250
"""Rows held out, and steps between two checkpoints, where nothing is said."""

REPORT_TO = ("none", "all", *(row.flag for row in TRACKERS.values()))


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m speechless.finetune.finetune", description="Fine-tune a model on rows of text."
    )
    _model(parser.add_argument_group("model"))
    options.add(parser)
    _data(parser.add_argument_group("data"))
    _predict(parser.add_argument_group("predictions"))
    run = parser.add_argument_group("run")
    _run(run)
    _optimizer(run)
    _loss(parser.add_argument_group("loss"))
    _when(run)
    parser.add_output(Summary)
    return parser


def _model(model: argparse._ArgumentGroup) -> None:
    model.add_argument(
        "--model_name_or_path",
        required=True,
        metavar="MODEL",
        help=f"the base model: a folder, {models.TAKEN}",
    )
    model.add_argument(
        "--bits",
        default="auto",
        help="precision: 16 (bfloat16, on a GPU), 32 or auto; 4 or 8: adapters on a model that is held in so few "
        "(QLoRA), computed with as auto does",
    )
    model.add_argument(
        "--pure_bf16", action="store_true", help="weights in bfloat16, too: a whole model in half the memory"
    )
    for name in ("quant_type", "double_quant"):
        options.add_field(model, name, Qlora.model_fields[name])
    model.add_argument("--full_finetune", action="store_true", help="train the whole model, not adapters")
    model.add_argument(
        "--max_shard_size",
        metavar="SIZE",
        help="the largest file of a whole model's weights, such as 5GB or 500MB (default: 5GB)",
    )
    model.add_argument("--lora_r", type=int, help="rank of the adapters (default: 64)")
    model.add_argument("--lora_alpha", type=int, help="scale of the adapters (default: 16)")
    model.add_argument("--lora_dropout", type=float, help="dropout within the adapters (default: 0)")
    for name in ("use_rslora", "use_dora"):
        options.add_field(model, name, Lora.model_fields[name])
    model.add_argument(
        "--lora_modules",
        help="linear layers that get adapters: all, or names separated by commas (default: all)",
    )

    for name, field in (("num_experts", "num_experts"), ("topk", "top_k"), ("adapter_dim", "adapter_dim")):
        options.add_field(model, name, Experts.model_fields[field])
    model.add_argument(
        "--chat_template",
        metavar="JINJA",
        help="the chat template by which messages become text: a file, or its text (default: the model's own)",
    )
    model.add_argument(
        "--prompt_type",
        choices=list(PROMPT_TYPES),
        metavar="NAME",
        help="a chat template that has a name, in place of the model's own: "
        f"{', '.join(PROMPT_TYPES)} (default: what all rows name in their key prompt_type, or else the model's own)",
    )
    for name in ("eos_token", "add_reasoning_tokens"):
        options.add_field(model, name, Tokenizer.model_fields[name])
    model.add_argument(
        "--max_memory_MB", type=whole(1), help="megabytes that a GPU gives at most (default: all that it has)"
    )
    options.add_field(model, "rope_scaling", RopeScaling.model_fields["type"])
    options.add_field(model, "rope_scaling_factor", RopeScaling.model_fields["factor"])
    for name, kind, what in (
        ("rope_theta", number(0, above=True), "the base of the rotary embedding"),
        ("sliding_window", whole(1), "how many tokens attention looks back"),
    ):
        model.add_argument(
            f"--{name}",
            type=kind,
            help=f"{what}; a value that is not the model's own is refused",
        )


def _data(data: argparse._ArgumentGroup) -> None:
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
        "--force_remove_overlength_samples",
        type=options.truth,
        metavar="true|false",
        default=False,
        help="longer rows are left out and counted, not cut (default: false)",
    )
    data.add_argument(
        "--max_train_samples",
        type=float,
        default=0,
        help="rows to train on: 0 = all, below 1 = that fraction, from 1 = that many",
    )
    data.add_argument(
        "--eval_dataset_size",
        type=float,
        help=f"rows held out: below 1 = that fraction, from 1 = that many (default: {EVAL_ROWS})",
    )
    data.add_argument("--max_eval_samples", type=int, help="rows held out at most (default: no limit)")


def _predict(predict: argparse._ArgumentGroup) -> None:
    predict.add_argument(
        "--do_predict",
        action="store_true",
        help="answer the rows held out after the training, into DIR/predictions.jsonl",
    )
    predict.add_argument(
        "--max_new_tokens", type=whole(1), help="tokens of an answer, at most (default: 256)"
    )
    predict.add_argument(
        "--temperature",
        type=number(0),
        help="0: the likeliest token, always; above, answers are drawn (default: 0)",
    )
    predict.add_argument(
        "--top_p",
        type=number(0, 1, above=True),
        help="answers are drawn from the likeliest tokens of this probability together (default: 1)",
    )


def _run(run: argparse._ArgumentGroup) -> None:
    run.add_argument(
        "--task_name", metavar="NAME", help="label of the run: of its log below DIR/logs, and in trackers"
    )
    run.add_argument(
        "--output_dir",
        type=Path,
        default=Path("outputs"),
        metavar="DIR",
        help="checkpoints, logs and the result",
    )


def _optimizer(run: argparse._ArgumentGroup) -> None:
    run.add_argument(
        "--learning_rate",
        type=float,
        help="peak learning rate (default: what is usual; "
        + "; ".join(
            f"{row.name.lower()} {row.learning_rate.adapters:g}, "
            f"with --full_finetune {row.learning_rate.whole:g}"
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
        "--warmup_steps", type=int, help="steps in which the learning rate rises to its peak (default: 0)"
    )
    run.add_argument(
        "--warmup_ratio",
        type=number(0, 1),
        help="the same as a part of all steps, below 1; without --warmup_steps",
    )
    run.add_argument(
        "--num_early_stopping_train_epochs",
        type=number(0, above=True),
        help="end after so many epochs, while the learning rate is planned over --num_train_epochs (default: all)",
    )
    for name in (
        "optim",
        "neftune_noise_alpha",
        "gradient_checkpointing",
        "attn_implementation",
        "use_liger_kernel",
        "early_stopping_patience",
        "load_best_model_at_end",
    ):
        options.add_field(run, name, Hyperparameters.model_fields[name])
    run.add_argument("--weight_decay", type=float, default=0, help="AdamW's weight decay")
    run.add_argument("--max_grad_norm", type=float, default=0.3, help="gradients are clipped to this norm")
    run.add_argument("--seed", type=int, default=10042, help="seed of the order of rows and of new weights")


def _loss(loss: argparse._ArgumentGroup) -> None:
    loss.add_argument(
        "--fixed_tags",
        metavar="TAG[,TAG]",
        help="texts, such as <tool_call>, whose tokens weigh otherwise in the loss; of --objective sft",
    )
    loss.add_argument("--fixed_tag_weight", type=number(0), help="the weight of their tokens (default: 2)")
    loss.add_argument(
        "--allowed_token_weight", type=number(0), help="the weight of all other learned tokens (default: 1)"
    )
    loss.add_argument(
        "--custom_training_module_file",
        type=Path,
        metavar="FILE",
        help="a Python file with a trainer class of your own; it is run",
    )
    loss.add_argument(
        "--custom_trainer_name", metavar="CLASS", help="the class: a subclass of transformers.Trainer"
    )


def _when(run: argparse._ArgumentGroup) -> None:
    run.add_argument("--logging_steps", type=int, default=1, help="steps between two lines of the log")
    run.add_argument(
        "--eval_strategy",
        choices=("no", "steps", "epoch"),
        help="when the loss on rows held out is measured (default: steps with --eval_steps, else epoch)",
    )
    options.add_field(run, "eval_steps", Hyperparameters.model_fields["eval_steps"])
    run.add_argument(
        "--save_strategy",
        choices=("no", "steps", "epoch"),
        default="steps",
        help="when checkpoints are kept; also always when interrupted, and at the end",
    )
    run.add_argument(
        "--save_steps",
        type=int,
        help=f"steps between two checkpoints; 0 = only when interrupted (default: {SAVE_STEPS})",
    )
    run.add_argument("--save_total_limit", type=int, default=1, help="checkpoints that are kept")
    run.add_argument(
        "--report_to",
        default="none",
        metavar="TRACKER[,TRACKER]",
        help=f"trackers that get what is logged: {', '.join(REPORT_TO)} (all: those that are installed and set up)",
    )
    run.add_argument(
        "--dry_run", action="store_true", help="print the plan, memory and one row; train and write nothing"
    )
    run.add_argument("--restart", action="store_true", help="train again although the run is complete")
