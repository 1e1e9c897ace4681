"""Older spellings of flags: translated with a line, or refused with the reason; never taken without a word."""

from __future__ import annotations

import pytest

from speechless.contract import LongRows
from speechless.contract.tracking import Tracker
from speechless.finetune.flags import Flags, build_parser, parse
from speechless.finetune.merge_peft_adapters import main as merge
from speechless.finetune.older import OLDER, Gone, No, Now, Older, Same
from speechless.finetune.parser import EVAL_ROWS
from tests.unit.finetune.words import NEEDED, refusal


def read(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[Flags, str]:
    flags = parse([*NEEDED, *argv])
    return flags, capsys.readouterr().err


@pytest.mark.parametrize("row", OLDER, ids=lambda row: row.name)
def test_every_row_says_something_that_is_true(row: Older) -> None:
    """What it is translated to is a flag of today with a value that is one; what is refused has a reason."""
    outcomes = [*row.values.items(), *([("7", row.other)] if row.other else [])]
    assert outcomes
    known = build_parser()._option_string_actions
    for value, outcome in outcomes:
        match outcome:
            case Now(words):
                flag = words.format(value).split()[0]
                assert flag in known
            case Gone(why) | No(why):
                assert why
            case Same():
                pass
    assert not row.needs or f"--{row.needs}" in known or any(row.needs == other.name for other in OLDER)


@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
@pytest.mark.parametrize(
    ("name", "value", "field", "becomes"),
    [
        ("max_seq_length", "77", "max_length", 77),
        ("per_gpu_train_batch_size", "3", "per_device_train_batch_size", 3),
        ("data_seed", "5", "seed", 5),
        ("sample_packing", "True", "packing", True),
        ("sample_packing", "False", "packing", False),
        ("group_by_length", "True", "group_by_length", True),
        ("group_by_length", "False", "group_by_length", False),
        ("train_sampling_strategy", "group_by_length", "group_by_length", True),
        ("gradient_checkpointing", "False", "gradient_checkpointing", False),
        ("activation_checkpointing", "True", "gradient_checkpointing", True),
        ("flash_attention", "False", "attn_implementation", "sdpa"),
        ("flash_attention", "True", "attn_implementation", None),
        ("adam8bit", "True", "optim", "adamw_bnb_8bit"),
        ("neftune", "True", "neftune_noise_alpha", 5),
    ],
)
def test_a_flag_reaches_its_setting_in_both_forms(
    name: str, value: str, field: str, becomes: object, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, told = read(capsys, *form.format(f"--{name}", value).split())
    assert getattr(flags.hyperparameters, field) == becomes
    assert told.count("\n") == told.count("is deprecated: use --") <= 1


@pytest.mark.parametrize(
    ("argv", "field", "becomes", "told"),
    [
        ("--gradient_checkpointing", "gradient_checkpointing", True, 1),
        ("--gradient_checkpointing true", "gradient_checkpointing", True, 0),
        ("--packing", "packing", True, 0),
        ("--sample_packing", "packing", True, 1),
        ("--neftune --noise_alpha 7", "neftune_noise_alpha", 7, 1),
        ("--noise_alpha 7 --neftune", "neftune_noise_alpha", 7, 1),
        ("--seed 10042 --data_seed 10042", "seed", 10042, 0),
        ("--do_train --do_eval True --logging_strategy steps --save_safetensors True", "packing", False, 0),
        (
            "--report_to none --ddp_find_unused_parameters False --remove_unused_columns False",
            "packing",
            False,
            0,
        ),
        ("--dataloader_num_workers 3 --per_device_eval_batch_size 1", "packing", False, 2),
        ("--bits 16 --quant_type nf4 --double_quant", "packing", False, 3),
    ],
)
def test_what_is_done_anyway_is_taken_silently_and_all_else_with_a_line(
    argv: str, field: str, becomes: object, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, error = read(capsys, *argv.split())
    assert getattr(flags.hyperparameters, field) == becomes
    assert error.count("\n") == told


def test_bfloat16_is_said_by_one_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(capsys, "--bf16")[0].precision == "BF16"
    assert read(capsys, "--bits", "auto", "--bf16") == (parse([*NEEDED, "--bits", "auto"]), "")
    assert "--bf16 and --bits 32: leave one of them out" in refusal(capsys, "--bits", "32", "--bf16")
    assert "--bf16 False and --bits 16" in refusal(capsys, "--bf16", "False", "--bits=16")


def test_the_label_wins_over_the_name_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(capsys, "--run_name", "x")[0].task == "x"
    flags, told = read(capsys, "--run_name", "x", "--task_name", "y")
    assert flags.task == "y"
    assert told == "--run_name x is left out: --task_name y is given\n"


def test_strategies(capsys: pytest.CaptureFixture[str]) -> None:
    flags, told = read(capsys, "--evaluation_strategy", "steps", "--eval_steps", "10")
    assert (flags.hyperparameters.eval_steps, flags.eval_dataset_size) == (10, EVAL_ROWS)
    assert told == "--evaluation_strategy steps is deprecated: use --eval_strategy steps\n"
    flags, told = read(capsys, "--eval_strategy", "epoch", "--eval_steps", "10")
    assert (flags.hyperparameters.eval_steps, told) == (
        None,
        "--eval_steps 10 has no effect with --eval_strategy epoch\n",
    )
    assert read(capsys, "--do_eval", "False")[0].eval_dataset_size == 0
    flags, told = read(capsys, "--save_strategy", "epoch", "--save_steps", "9")
    assert (flags.save_steps, flags.save_every_epoch) == (0, True)
    assert told == "--save_steps 9 has no effect with --save_strategy epoch\n"
    assert read(capsys, "--save_strategy", "no")[0].save_steps == 0
    assert parse(NEEDED).save_steps == 250
    for argv, said in (
        ("--eval_strategy steps", "--eval_strategy steps needs --eval_steps"),
        ("--eval_strategy no --eval_dataset_size 5", "leave out --eval_dataset_size"),
        ("--save_strategy best", "invalid choice: 'best'"),
    ):
        assert said in refusal(capsys, *argv.split())


def test_settings_of_the_command_line_alone(capsys: pytest.CaptureFixture[str]) -> None:
    flags, told = read(
        capsys,
        *[
            "--num_early_stopping_train_epochs",
            "2",
            "--warmup_ratio",
            "0.1",
            "--force_remove_overlength_samples",
        ],
        *[
            "--report_to",
            "wandb,tensorboard",
            "--max_memory_MB",
            "40000",
            "--rope_theta",
            "1e6",
            "--task_name",
            "t",
        ],
    )
    extras = flags.extras
    given = flags.hyperparameters
    assert (extras.stop_after_epochs, given.warmup_ratio, given.long_rows) == (2, 0.1, LongRows.DROP)
    tracking = flags.tracking
    assert (tracking.report_to, tracking.run_name) == ((Tracker.TENSORBOARD, Tracker.WANDB), "t")
    assert extras.max_memory_mb == 40000
    assert extras.deciding == {"stop_after_epochs": 2}
    assert flags.of_the_model == {"rope_theta": 1e6}
    assert told.count("\n") == 1
    assert parse(NEEDED).extras.deciding == {}
    same = parse([*NEEDED, "--num_early_stopping_train_epochs", "3", "--num_train_epochs", "3"])
    assert same.extras.stop_after_epochs is None


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--mpt", "--mpt: MPT has no special handling"),
        ("--deepspeed x.json", "--deepspeed x.json: DeepSpeed is not offered yet"),
        ("--fp16", "--fp16: float16 is not offered: take bfloat16, --bits 16"),
        ("--trust_remote_code True", "code out of a model's folder is not run"),
        ("--rerope True", "train on rows within the model's context"),
        ("--prompt_type alpacca", "argument --prompt_type: invalid choice: 'alpacca'"),
        (
            "--prompt_type alpaca --chat_template {{m}}",
            "promptType and chatTemplate both say how messages become text",
        ),
        ("--wandb mine", "--report_to wandb, and the variable WANDB_PROJECT"),
        ("--report_to wandbb", "--report_to wandbb is not offered; did you mean wandb?"),
        ("--do_predict --num_beams 4", "predictions take --max_new_tokens, --temperature and --top_p"),
        ("--do_predict --do_sample", "--temperature above 0 draws answers"),
        ("--do_predict --predict_with_generate false", "--do_predict generates: leave it out"),
        ("--predict_with_generate", "goes with --do_predict"),
        ("--noise_alpha 3", "--noise_alpha goes with --neftune"),
        ("--data_seed 1 --seed 2", "--data_seed 1 and --seed 2: leave one of them out"),
        ("--sample_packing=perhaps", "'perhaps' is neither true nor false"),
        ("--logging_strategy epoch", "the log is by steps"),
        ("--quant_type", "--quant_type: expected one argument"),
        ("--warmup_ratio 0.1 --warmup_steps 5", "--warmup_ratio: warmupRatio and warmupSteps say the same"),
        ("--num_early_stopping_train_epochs 9", "more than --num_train_epochs 3"),
        ("--num_early_stopping_train_epochs 1 --max_steps 3", "leave one of them out"),
        ("--task_name a/b", "it is a part of a file's name"),
        ("--overwrite_output_dir", "--restart removes the earlier run"),
        ("--train_sampling_strategy longest", "one of random, group_by_length"),
    ],
)
def test_what_is_refused_has_a_reason_and_what_works(
    argv: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, *argv.split())
    assert said in told


def test_a_merge_pushes_nothing_and_says_what_does(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--base_model_name_or_path", "b", "--lora_model_path", "a"]
    with pytest.raises(SystemExit) as ended:
        merge([*words, "--push_to_hub"])
    assert ended.value.code == 2
    assert "'speechless store publish' writes the merged model" in capsys.readouterr().err
