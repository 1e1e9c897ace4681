"""The trainer's flags: what they mean, and which are refused."""

from pathlib import Path

import pytest

from speechless.contract import DatasetFormat, Dpo, Method, Objective, Precision, Pretrain
from speechless.contract.objectives import OBJECTIVES
from speechless.data import FLAGS
from speechless.data.places import places
from speechless.finetune.flags import parse
from tests.unit.finetune.words import NEEDED, refusal


def test_the_documented_defaults() -> None:
    flags = parse(NEEDED)
    assert flags.method is Method.LORA
    assert (flags.lora.r, flags.lora.alpha, flags.lora.dropout, flags.lora.target_modules) == (64, 16, 0, ())
    given = flags.hyperparameters
    assert (given.max_length, given.seed, given.per_device_train_batch_size) == (2048, 10042, 1)
    assert (given.gradient_accumulation_steps, given.max_grad_norm, given.lr_scheduler_type) == (
        16,
        0.3,
        "constant",
    )
    assert (flags.output_dir, flags.save_steps, flags.save_total_limit) == (Path("outputs"), 250, 1)
    assert flags.dataset_format is DatasetFormat.AUTO


def test_flags_reach_the_settings() -> None:
    flags = parse(
        [
            *NEEDED,
            "--lora_r",
            "8",
            "--lora_modules",
            "q_proj,v_proj",
            "--learning_rate",
            "1e-3",
            "--max_steps=7",
        ]
    )
    assert flags.lora.r == 8
    assert flags.lora.target_modules == ("q_proj", "v_proj")
    assert (flags.hyperparameters.learning_rate, flags.hyperparameters.max_steps) == (1e-3, 7)
    full = parse([*NEEDED, "--full_finetune", "--bits", "32", "--dataset_format", "messages"])
    assert (full.method, full.precision, full.dataset_format) == (
        Method.FULL,
        Precision.FP32,
        DatasetFormat.MESSAGES,
    )


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("name", FLAGS)
def test_a_format_of_rows_can_be_named_where_the_objective_learns_from_it(
    name: str, objective: Objective, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*NEEDED, "--dataset_format", name, "--objective", objective.lower()]
    if FLAGS[name] in (DatasetFormat.AUTO, *OBJECTIVES[objective].formats):
        flags = parse(argv)
        assert (flags.dataset_format, flags.objective) == (FLAGS[name], objective)
        return
    with pytest.raises(SystemExit):
        parse(argv)
    assert f"are not what objective {objective} learns from" in capsys.readouterr().err


def test_options_go_with_their_objective(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(NEEDED).options is None
    assert parse([*NEEDED, "--objective", "dpo"]).options == Dpo()
    new = ["--full_finetune", "--pretrain_from_scratch"]
    told = parse([*NEEDED, "--objective", "dpo", "--dpo_beta", "0.5", "--dpo_loss_type", "ipo"]).options
    assert told == Dpo(beta=0.5, loss_type="ipo")
    assert parse([*NEEDED, "--objective", "pretrain", *new]).options == Pretrain(from_scratch=True)
    assert parse([*NEEDED, "--objective", "kto"]).hyperparameters.per_device_train_batch_size == 2
    for argv, said in (
        (["--dpo_beta", "0.5"], "--dpo_beta goes with --objective dpo"),
        (["--objective", "dpo", "--dpo_beta", "0"], "--dpo_beta: Input should be greater than 0"),
        (["--objective", "dpo", "--dpo_loss_type", "log"], "--dpo_loss_type: invalid choice: 'log'"),
        (["--objective", "orpo", "--pretrain_from_scratch"], "goes with --objective pretrain"),
        (["--objective", "pretrain", new[1]], "--pretrain_from_scratch goes with --full_finetune"),
        (
            ["--objective", "kto", "--per_device_train_batch_size", "1"],
            "--per_device_train_batch_size 1: --objective kto needs 2 or more",
        ),
        (["--objective", "grpo"], "invalid choice: 'grpo'"),
    ):
        with pytest.raises(SystemExit):
            parse([*NEEDED, *argv])
        assert said in capsys.readouterr().err


def test_settings_reach_their_fields_and_those_that_do_not_go_together_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = [
        "--packing",
        "--optim",
        "adafactor",
        "--neftune_noise_alpha",
        "5",
        "--gradient_checkpointing",
        "true",
    ]
    given = parse([*NEEDED, *told, "--attn_implementation", "eager", "--use_dora", "--use_rslora"])
    found = given.hyperparameters
    assert (found.packing, found.optim, found.neftune_noise_alpha) == (True, "adafactor", 5)
    assert (found.gradient_checkpointing, found.attn_implementation) == (True, "eager")
    assert (given.lora.use_dora, given.lora.use_rslora) == (True, True)
    assert parse([*NEEDED, "--pure_bf16"]).precision is Precision.PURE_BF16
    for argv, said in (
        (["--packing", "--objective", "dpo"], "--packing: packing goes with objective SFT or Pretrain"),
        (["--packing", "--group_by_length"], "--group_by_length: groupByLength goes with objective SFT"),
        (["--early_stopping_patience", "2", "--eval_dataset_size", "0"], "needs held-out rows"),
        (["--pure_bf16", "--bits", "32"], "--pure_bf16 goes with --bits 16"),
        (["--full_finetune", "--use_dora"], "--use_dora has no effect with --full_finetune"),
        (["--optim", "adam"], "invalid choice: 'adam'"),
        (["--gradient_checkpointing", "perhaps"], "'perhaps' is neither true nor false"),
    ):
        assert said in refusal(capsys, *argv)


def test_a_dataset_is_a_list_with_commas_or_one_place_whose_name_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = NEEDED[: NEEDED.index("--dataset")] + NEEDED[NEEDED.index("--dataset") + 2 :]
    given = parse([*needed, "--dataset", "a.jsonl, b"]).dataset
    assert places(given) == (Path("a.jsonl"), Path("b"))
    (tmp_path / "a.jsonl, b").touch()
    assert places(given) == (Path("a.jsonl, b"),)


def test_the_old_short_form_is_taken_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([*NEEDED, "--model_max_len", "99"]).hyperparameters.max_length == 99
    assert parse([*NEEDED, "--model_max_len=98"]).hyperparameters.max_length == 98
    assert capsys.readouterr().err.count("deprecated: use --model_max_length") == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bits", "4"], "--bits 4: training on a quantized model is not offered yet"),
        (["--bits", "8"], "--bits 8: training on a quantized model"),
        (["--bits", "64"], "--bits 64: one of auto, 16, 32"),
        (["--dataset_format", "vicuna"], "--dataset_format vicuna is not offered; one of auto"),
        (["--bad_rows", "drop"], "--bad_rows"),
        (["--full_finetune", "--lora_r", "8"], "--lora_r has no effect with --full_finetune"),
        (
            ["--eval_dataset_size", "0", "--eval_steps", "5"],
            "--eval_steps: evalSteps needs held-out rows",
        ),
        (["--lora_r", "0"], "--lora_r: Input should be greater than or equal to 1"),
        (["--model_max_length", "1"], "--model_max_length: Input should be"),
        (["--learning_rate", "-1"], "--learning_rate: Input should be greater than 0"),
        (["--lr_scheduler_type", "polynomial"], "--lr_scheduler_type: Input should be 'linear'"),
        (["--save_steps", "-1"], "--save_steps: at least 0"),
        (["--max_train_samples", "-3"], "--max_train_samples: 0 or more"),
        (["--lora_module", "all"], "unknown flag --lora_module; did you mean --lora_modules?"),
        (["--sample_pack"], "unknown flag --sample_pack"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, *argv)
