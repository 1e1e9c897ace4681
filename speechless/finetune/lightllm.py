"""`python -m speechless.finetune --mode ...`, as LightLLM was called: what of it is offered, in today's words.

`train` with `--training_method sft` is the trainer, `merge_lora` the merge, `inference` is `speechless generate`. The
others are refused by name.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from speechless.arguments import Parser
from speechless.entry import run
from speechless.finetune.older import DEEPSPEED

PROG = "python -m speechless.finetune.lightllm"
_RL = "with rewards is not offered yet: --training_method sft, or 'speechless finetune' with --objective dpo or kto"


class _Flag(NamedTuple):
    """A flag of LightLLM, without dashes."""

    default: str | None
    """None: it is left out where it is not given."""
    becomes: str
    """The trainer's flag; empty: none."""
    refused: str = ""
    """Why it is not offered."""


_TRAIN: Mapping[str, _Flag] = {
    "model_name_or_path": _Flag(None, "model_name_or_path"),
    "train_file": _Flag(None, "dataset"),
    "max_seq_length": _Flag("512", "model_max_length"),
    "output_dir": _Flag(None, "output_dir"),
    "batch_size": _Flag("8", "per_device_train_batch_size"),
    "gradient_accumulation_steps": _Flag("1", "gradient_accumulation_steps"),
    "num_train_epochs": _Flag("3", "num_train_epochs"),
    "learning_rate": _Flag("5e-5", "learning_rate"),
    "weight_decay": _Flag("0.01", "weight_decay"),
    "max_grad_norm": _Flag("1.0", "max_grad_norm"),
    "seed": _Flag("42", "seed"),
    "lora_r": _Flag("8", "lora_r"),
    "lora_alpha": _Flag("16", "lora_alpha"),
    "lora_dropout": _Flag("0.05", "lora_dropout"),
    "lora_target_modules": _Flag("q_proj,v_proj", "lora_modules"),
    "logging_steps": _Flag(None, "logging_steps"),
    "eval_steps": _Flag(None, "eval_steps"),
    "save_steps": _Flag(None, "save_steps"),
    "tokenizer_name_or_path": _Flag(None, "", "the tokenizer is the model's own"),
    "eval_file": _Flag(None, "", "the trainer holds rows out of --train_file, a fiftieth"),
    "wandb_project": _Flag(None, "", "the variable WANDB_PROJECT says it, with --use_wandb"),
    "kl_coef": _Flag(None, "", _RL),
    "clip_range": _Flag(None, "", _RL),
    "value_loss_coef": _Flag(None, "", _RL),
    "entropy_coef": _Flag(None, "", _RL),
    "num_ppo_epochs": _Flag(None, "", _RL),
}
_SWITCHES = {
    "bf16": (["--bits", "16"], ""),
    "fp16": ([], "float16 is not offered: --bf16"),
    "use_wandb": (["--report_to", "wandb"], ""),
    "use_deepspeed": ([], DEEPSPEED),
    "use_fsdp": ([], "training on several GPUs is not offered yet: one process trains"),
}
"""Flags without a value: the trainer's words, or why it is not offered."""
_PLAIN = "answers are drawn without it, as on every engine here"
_INFERENCE: Mapping[str, _Flag] = {
    "prompt": _Flag(None, "prompt"),
    "max_new_tokens": _Flag("512", "max_new_tokens"),
    "temperature": _Flag("0.7", "temperature"),
    "top_p": _Flag("0.95", "top_p"),
    "top_k": _Flag(None, "", _PLAIN),
    "repetition_penalty": _Flag(None, "", _PLAIN),
    "quantization": _Flag(
        None, "", "'speechless quant llamacpp' makes a quantized model, which is taken as any other"
    ),
}
_DRAWS = ("temperature", "top_p")
"""Flags that have a meaning with --do_sample alone."""


_OF_MODE = {
    "train": (*(_TRAIN.keys() - {"model_name_or_path"}), *_SWITCHES, "training_method", "adaptation_method"),
    "merge_lora": ("lora_model_path", "merged_model_path"),
    "inference": (*_INFERENCE, "do_sample"),
}
"""Flags that have a meaning in one mode alone."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description="LightLLM's command line: train (sft), merge_lora and inference.")
    parser.add_argument(
        "--mode", required=True, choices=("train", "merge_lora", "inference"), help="what to do"
    )
    parser.add_argument("--training_method", choices=("sft", "ppo", "grpo"), help="train: how (default: sft)")
    parser.add_argument("--adaptation_method", choices=("lora", "full"), help="train: what (default: lora)")
    for name, flag in _TRAIN.items():
        told = f"--{flag.becomes} of the trainer" if flag.becomes else f"refused: {flag.refused}"
        parser.add_argument(f"--{name}", help=told + (f" (default: {flag.default})" if flag.default else ""))
    for name, (words, why) in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=" ".join(words) or f"refused: {why}")
    for name, flag in _INFERENCE.items():
        told = f"--{flag.becomes} of 'speechless generate'" if flag.becomes else f"refused: {flag.refused}"
        default = f" (default: {flag.default})" if flag.default else ""
        parser.add_argument(f"--{name}", help=f"inference: {told}{default}")
    parser.add_argument(
        "--do_sample", action="store_true", help="inference: draw tokens; without it, always the likeliest"
    )
    parser.add_argument("--lora_model_path", metavar="DIR", help="merge_lora: the adapter")
    parser.add_argument("--merged_model_path", metavar="DIR", help="merge_lora: where the merged model goes")
    return parser


def main(argv: Sequence[str]) -> int:
    """Train or merge; the exit status."""
    words, start = translate(argv)
    print(f"{PROG} is deprecated: use python -m {start.__module__} {' '.join(words)}", file=sys.stderr)
    return start(words)


def translate(argv: Sequence[str]) -> tuple[list[str], Callable[[Sequence[str]], int]]:
    """The words of today's command, and its `main`; exit status 2 and one line for what is not offered."""
    from speechless.finetune import finetune, merge_peft_adapters
    from speechless.generate import __main__ as generate

    parser = build_parser()
    given = parser.parse(argv)
    for mode, names in _OF_MODE.items():
        for name in names:
            if mode != given.mode and getattr(given, name) not in (None, False):
                parser.error(f"--{name} goes with --mode {mode}: leave it out")
    needed = {"train": "train_file", "merge_lora": "lora_model_path", "inference": "prompt"}[given.mode]
    for name in ("model_name_or_path", needed):
        if getattr(given, name) is None:
            parser.error(f"--mode {given.mode} needs --{name}")
    if given.mode == "inference":
        return _inference(parser, given), generate.main
    if given.mode == "train":
        return _train(parser, given), finetune.main
    words = [
        "--base_model_name_or_path",
        given.model_name_or_path,
        "--lora_model_path",
        given.lora_model_path,
    ]
    if given.merged_model_path:
        words += ["--merged_model_name_or_path", given.merged_model_path]
    return words, merge_peft_adapters.main


def _inference(parser: Parser, given: Namespace) -> list[str]:
    words = ["--model", given.model_name_or_path]
    for name, flag in _INFERENCE.items():
        value = getattr(given, name)
        if value is not None and flag.refused:
            parser.error(f"--{name}: {flag.refused}")
        if name in _DRAWS and not given.do_sample:
            if value is not None:
                parser.error(f"--{name} goes with --do_sample: without it, the likeliest tokens are taken")
            continue
        value = flag.default if value is None else value
        words += [f"--{flag.becomes}", value] if value is not None else []
    return words


def _train(parser: Parser, given: Namespace) -> list[str]:
    if given.training_method not in (None, "sft"):
        parser.error(f"--training_method {given.training_method}: {given.training_method.upper()} {_RL}")
    full = given.adaptation_method == "full"
    words = ["--full_finetune"] if full else []
    for name, flag in _TRAIN.items():
        value = getattr(given, name)
        if value is not None and flag.refused:
            parser.error(f"--{name}: {flag.refused}")
        if value is None and not (full and name.startswith("lora_")):
            value = flag.default
        words += [f"--{flag.becomes}", value] if value is not None else []
    for name, (told, why) in _SWITCHES.items():
        if getattr(given, name) and why:
            parser.error(f"--{name}: {why}")
        words += told if getattr(given, name) else []
    return words


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
