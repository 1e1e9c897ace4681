"""LightLLM's command line in today's words."""

from __future__ import annotations

import pytest

from speechless.finetune import finetune, merge_peft_adapters
from speechless.finetune.__main__ import main
from speechless.finetune.flags import parse
from speechless.finetune.lightllm import translate
from speechless.generate import __main__ as generate

TRAIN = ["--mode", "train", "--model_name_or_path", "m", "--train_file", "rows.json"]


def test_train_is_the_trainer_with_the_documented_defaults() -> None:
    words, start = translate(TRAIN)
    assert start is finetune.main
    flags = parse(words)
    given = flags.hyperparameters
    assert (flags.dataset, flags.method, given.max_length, given.per_device_train_batch_size) == (
        "rows.json",
        "LoRA",
        512,
        8,
    )
    assert (given.learning_rate, given.weight_decay, given.seed, given.gradient_accumulation_steps) == (
        5e-5,
        0.01,
        42,
        1,
    )
    assert (flags.lora.r, flags.lora.alpha, flags.lora.target_modules) == (8, 16, ("q_proj", "v_proj"))
    more = ["--adaptation_method", "full", "--learning_rate", "1e-3", "--bf16", "--use_wandb"]
    whole = parse(translate([*TRAIN, *more])[0])
    assert (whole.method, whole.hyperparameters.learning_rate, whole.precision) == ("Full", 1e-3, "BF16")
    assert whole.tracking.report_to == ("WandB",)


ASK = ["--mode", "inference", "--model_name_or_path", "m", "--prompt", "hi"]


def test_inference_is_generate() -> None:
    words, start = translate(ASK)
    assert start is generate.main
    assert words == ["--model", "m", "--prompt", "hi", "--max_new_tokens", "512"]
    drawn = translate([*ASK, "--do_sample", "--top_p", "0.5", "--max_new_tokens", "9"])[0]
    assert drawn[4:] == ["--max_new_tokens", "9", "--temperature", "0.7", "--top_p", "0.5"]


def test_merge_lora_is_the_merge() -> None:
    words, start = translate(["--mode=merge_lora", "--model_name_or_path", "m", "--lora_model_path", "a"])
    assert start is merge_peft_adapters.main
    assert words == ["--base_model_name_or_path", "m", "--lora_model_path", "a"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([*TRAIN, "--training_method", "ppo"], "--training_method ppo: PPO with rewards is not offered yet"),
        (
            [*TRAIN, "--training_method", "grpo"],
            "--training_method grpo: GRPO with rewards is not offered yet",
        ),
        (["--mode", "inference", "--model_name_or_path", "m"], "--mode inference needs --prompt"),
        ([*ASK, "--train_file", "rows.json"], "--train_file goes with --mode train: leave it out"),
        ([*ASK, "--training_method", "ppo"], "--training_method goes with --mode train: leave it out"),
        ([*TRAIN, "--prompt", "hi"], "--prompt goes with --mode inference: leave it out"),
        ([*TRAIN, "--lora_model_path", "a"], "--lora_model_path goes with --mode merge_lora: leave it out"),
        ([*ASK, "--top_k", "50"], "--top_k: answers are drawn without it"),
        ([*ASK, "--top_p", "0.5"], "--top_p goes with --do_sample"),
        (
            [*ASK, "--quantization", "4bit"],
            "--quantization: 'speechless quant llamacpp' makes a quantized model",
        ),
        (["--mode", "train"], "--mode train needs --model_name_or_path"),
        (["--mode", "merge_lora", "--model_name_or_path", "m"], "--mode merge_lora needs --lora_model_path"),
        ([*TRAIN, "--fp16"], "--fp16: float16 is not offered"),
        ([*TRAIN, "--use_fsdp"], "training on several GPUs is not offered yet"),
        ([*TRAIN, "--kl_coef", "0.1"], "--kl_coef: with rewards is not offered yet"),
        ([*TRAIN, "--eval_file", "e"], "--eval_file: the trainer holds rows out"),
        ([*TRAIN, "--lora_rank", "4"], "unknown flag --lora_rank; did you mean --lora_"),
        (["--mode", "tune"], "invalid choice: 'tune'"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
