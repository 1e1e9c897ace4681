"""The trainer's flags: what they mean, and which are refused."""

from pathlib import Path

import pytest

from speechless.contract import DatasetFormat, Dpo, Method, Objective, Precision, Pretrain, Qlora, Reward
from speechless.contract.objectives import OBJECTIVES
from speechless.data import FLAGS
from speechless.data.places import places
from speechless.finetune.flags import parse
from speechless.finetune.job import Predict
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
    coefficient = ["--reward_center_rewards_coefficient", "0.01"]
    assert parse([*NEEDED, "--objective", "reward"]).options == Reward()
    judge = parse([*NEEDED, "--objective", "reward", *coefficient])
    assert judge.options == Reward(center_rewards_coefficient=0.01)
    assert judge.hyperparameters.learning_rate is None
    assert parse([*NEEDED, "--objective", "kto"]).hyperparameters.per_device_train_batch_size == 2
    for argv, said in (
        (["--dpo_beta", "0.5"], "--dpo_beta goes with --objective dpo"),
        (["--objective", "dpo", "--dpo_beta", "0"], "--dpo_beta: Input should be greater than 0"),
        (["--objective", "dpo", "--dpo_loss_type", "log"], "--dpo_loss_type: invalid choice: 'log'"),
        (["--reward_center_rewards_coefficient", "0.1"], "goes with --objective reward"),
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
        (["--packing", "--objective", "reward"], "--packing: packing goes with objective SFT or Pretrain"),
        (
            ["--group_by_length", "--objective", "reward"],
            "--group_by_length: groupByLength goes with objective SFT",
        ),
        (["--packing", "--group_by_length"], "--group_by_length: groupByLength goes with objective SFT"),
        (["--early_stopping_patience", "2", "--eval_dataset_size", "0"], "needs held-out rows"),
        (["--load_best_model_at_end", "--eval_strategy", "no"], "--load_best_model_at_end: loadBest"),
        (["--load_best_model_at_end", "--metric_for_best_model", "bleu"], "--metric_for_best_model bleu: "),
        (["--pure_bf16", "--bits", "32"], "--pure_bf16 goes with --bits 16"),
        (["--full_finetune", "--use_dora"], "--use_dora has no effect with --full_finetune"),
        (["--rope_scaling_factor", "2"], "--rope_scaling_factor goes with --rope_scaling"),
        (["--rope_scaling", "yarn", "--rope_scaling_factor", "1"], "--rope_scaling_factor: Input should be"),
        (["--rope_scaling", "ntk"], "--rope_scaling: invalid choice: 'ntk'"),
        (["--chat_template", "no.jinja"], "--chat_template no.jinja: no Jinja, and no file of it"),
        (["--custom_trainer_name", "T"], "--custom_trainer_name goes with --custom_training_module_file"),
        (["--fixed_tag_weight", "3"], "--fixed_tag_weight goes with --fixed_tags"),
        (["--fixed_tags", "<a>", "--objective", "dpo"], "--fixed_tags goes with --objective sft"),
        (
            ["--custom_training_module_file", "none.py", "--custom_trainer_name", "T"],
            "--custom_training_module_file none.py: No such file",
        ),
        (["--optim", "adam"], "invalid choice: 'adam'"),
        (["--gradient_checkpointing", "perhaps"], "'perhaps' is neither true nor false"),
    ):
        assert said in refusal(capsys, *argv)


@pytest.mark.parametrize(
    ("argv", "qlora"),
    [
        ("--bits 4", Qlora()),
        ("--bits 8", Qlora(bits=8)),
        ("--bits 4 --quant_type fp4 --double_quant False", Qlora(quant_type="fp4", double_quant=False)),
        ("--bits=4 --bf16 --quant_type nf4 --double_quant", Qlora()),
    ],
)
def test_a_model_is_held_in_fewer_bits(argv: str, qlora: Qlora) -> None:
    given = parse([*NEEDED, *argv.split(), "--lora_r", "8"])
    assert (given.method, given.precision, given.qlora) == (Method.QLORA, Precision.AUTO, qlora)
    assert parse(NEEDED).method is Method.LORA


@pytest.mark.parametrize("bits", ["auto", "8"])
def test_what_is_of_4_bits_is_told_beside_others(bits: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts of earlier versions said it always."""
    given = parse([*NEEDED, "--bits", bits, "--quant_type", "fp4", "--double_quant", "false"])
    assert given.qlora == Qlora(bits=8 if bits == "8" else 4)
    error = capsys.readouterr().err
    for name in ("--quant_type fp4", "--double_quant false"):
        assert f"{name} has no effect with --bits {bits}: it goes with --bits 4" in error


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
        (
            ["--bits", "4", "--full_finetune"],
            "--bits 4 and --full_finetune: quantized weights cannot be trained",
        ),
        (["--bits", "4", "--pure_bf16"], "--pure_bf16 goes with --bits 16, not with --bits 4"),
        (["--bits", "4", "--quant_type", "int4"], "--quant_type: invalid choice: 'int4'"),
        (["--bits", "64"], "--bits 64: one of auto, 16, 32, 4, 8"),
        (["--dataset_format", "vicuna"], "--dataset_format vicuna is not offered; one of auto"),
        (["--bad_rows", "drop"], "--bad_rows"),
        (
            ["--num_experts", "4", "--lora_r", "8"],
            "--lora_r and --num_experts: experts are adapters of their own",
        ),
        (["--topk", "9"], "--topk: experts.topK is more than experts.numExperts"),
        (["--num_experts", "1"], "--num_experts: Input should be greater than or equal to 2"),
        (["--adapter_dim", "8", "--full_finetune"], "--num_experts: experts go with method LoRA or QLoRA"),
        (["--adapter_dim", "8", "--objective", "reward"], "--objective: experts go with objective SFT"),
        (["--topk", "1", "--add_reasoning_tokens"], "--add_reasoning_tokens: addReasoningTokens trains rows"),
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


def test_the_largest_file_of_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(NEEDED).extras.max_shard_size == "5GB"
    assert parse([*NEEDED, "--full_finetune", "--max_shard_size", "500MB"]).extras.max_shard_size == "500MB"
    assert parse([*NEEDED, "--max_shard_size", "2GiB"]).extras.max_shard_size == "5GB"
    assert "--max_shard_size 2GiB has no effect on adapters" in capsys.readouterr().err
    for size in ("5", "0GB", "5 GB", "x"):
        assert "a whole number and its unit" in refusal(capsys, "--full_finetune", "--max_shard_size", size)


def test_answers_to_the_rows_held_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(NEEDED).extras.predict is None
    made = parse(
        [*NEEDED, "--do_predict", "--max_new_tokens", "9", "--predict_with_generate", "true"]
    ).extras.predict
    assert made == Predict(max_new_tokens=9)
    for words, said in (
        (("--temperature", "1"), "--temperature goes with --do_predict"),
        (("--do_predict", "--eval_dataset_size", "0"), "answers the rows held out: set --eval_dataset_size"),
        (("--do_predict", "--packing"), "--do_predict and --packing"),
        (("--do_predict", "--objective", "pretrain"), "rows of --objective pretrain ask nothing"),
        (("--do_predict", "--top_p", "0"), "--top_p: must be"),
    ):
        assert said in refusal(capsys, *words)
