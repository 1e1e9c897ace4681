"""What a command line can say beside the settings of a FineTune has an effect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechless.contract import FailureReason, Method, Objective
from speechless.data import read_rows, survey
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import launch
from speechless.finetune.finetune import main
from speechless.finetune.job import Extras
from speechless.finetune.tokens import Encoder, Encoding
from tests.library.training import ROWS, SETTINGS, digest, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
EPOCHS = SETTINGS.model_copy(update={"max_steps": None, "num_train_epochs": 4, "lr_scheduler_type": "linear"})
"""8 rows, 4 at a time: two steps an epoch."""


def test_a_run_ends_after_some_epochs_of_a_schedule_over_all(model: Path, tmp_path: Path) -> None:
    settings = {"hyperparameters": EPOCHS, "extras": Extras(stop_after_epochs=2)}
    told, outcome = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    assert (outcome.steps, told.kept) == (4, [4])
    whole, _ = run(job(model, tmp_path / "whole", Objective.SFT, Method.LORA, hyperparameters=EPOCHS))
    assert told.losses() == whole.losses()[:4]
    rates = [[value["learning_rate"] for value in each.values if "loss" in value] for each in (told, whole)]
    assert rates[0] == rates[1][:4]
    assert rates[0][3] > 0.4 * rates[0][0]
    (tmp_path / "out").rename(tmp_path / "before")
    again, same = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    assert (again.kept, same.steps) == ([], 4)
    assert digest(tmp_path / "before") == digest(tmp_path / "out")


def test_a_checkpoint_after_every_epoch(model: Path, tmp_path: Path) -> None:
    settings = {"hyperparameters": EPOCHS, "every_epoch": True}
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    assert told.kept == [2, 4, 6, 8]


def test_the_learning_rate_rises_over_a_part_of_the_steps(model: Path, tmp_path: Path) -> None:
    settings = {"hyperparameters": EPOCHS.model_copy(update={"warmup_ratio": 0.5})}
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    rates = [value["learning_rate"] for value in told.values if "learning_rate" in value]
    assert rates.index(max(rates)) == 4


def test_rows_that_are_too_long_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    long = {"prompt": "sum of", "completion": " return" * 30}
    file = write(
        [*ROWS[Objective.SFT], long, {"prompt": "sum of" * 30, "completion": " x"}], tmp_path / "rows.jsonl"
    )
    rows = list(read_rows(survey(file, seed=0), heldout=False))
    tokenizer = load_tokenizer(model)
    cut = Encoder(Encoding(model, Objective.SFT, 20), tokenizer).chunk(rows).counts
    kept = Encoder(Encoding(model, Objective.SFT, 20, remove=True), tokenizer).chunk(rows).counts
    assert (cut.rows, cut.cut, cut.dropped, cut.removed) == (9, 2, 1, 0)
    assert (kept.rows, kept.cut, kept.dropped, kept.removed) == (8, 0, 0, 2)


def test_a_run_by_an_older_script(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags of scripts of earlier versions, as torchrun starts one process."""
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    words = f"""--task_name mine --run_name now --model_name_or_path {model} --dataset rows.jsonl --output_dir outputs
        --num_train_epochs 2 --num_early_stopping_train_epochs 1 --do_train --do_eval --do_predict False
        --data_seed 10042 --seed 10042 --report_to none --save_strategy epoch --save_steps 100 --save_total_limit 2
        --evaluation_strategy steps --eval_steps 1 --eval_dataset_size 2 --max_eval_samples 2 --warmup_steps 0
        --dataloader_num_workers 3 --logging_strategy steps --logging_steps 1 --remove_unused_columns False
        --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 --lora_modules all --bits 32 --bf16 False --optim adamw_torch
        --gradient_checkpointing --group_by_length False --per_device_train_batch_size 2
        --per_device_eval_batch_size 1 --gradient_accumulation_steps 1 --weight_decay 0 --learning_rate 2e-4
        --lr_scheduler_type cosine --model_max_length 64 --sample_packing False --rerope False --repeat_steps 0
        --flash_attention True --force_remove_overlength_samples False --trust_remote_code False
        --ddp_find_unused_parameters False --prompt_type chat_template --neftune --noise_alpha 5.0""".split()
    assert main(words) == 0
    outputs = tmp_path / "outputs"
    assert json.loads((outputs / "train_results.json").read_text())["train/steps"] == 3
    (log,) = (outputs / "logs").glob("mine-*.log")
    assert "6 rows" in log.read_text()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words) == 2


def test_a_whole_models_files_are_as_large_as_is_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        "rows.jsonl",
        "--max_steps",
        "1",
        "--full_finetune",
    ]
    assert main([*words, "--max_shard_size", "1MB"]) == 0
    files = sorted((tmp_path / "outputs").glob("model-*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size < 1.1e6 for file in files)
    assert main([*words, "--max_shard_size", "2MB"]) == 2
    assert "(extras.max_shard_size)" in capsys.readouterr().err


def test_what_torchrun_sets_does_not_reach_the_trainer() -> None:
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ROLE_RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"):
        assert launch._TORCHRUN.fullmatch(name)
    assert not launch._TORCHRUN.fullmatch("OMP_NUM_THREADS")


@pytest.mark.parametrize("flag", ["--rope_theta", "--sliding_window"])
def test_the_models_own_value_is_taken_and_another_one_refused(
    flag: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = ["--model_name_or_path", str(model), "--dataset", "rows.jsonl", flag, "4097"]
    assert main(words) == 2
    assert f"{flag} 4097: the model's own is " in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run_with_a_reason(model: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError) as caught:
        run(job(broken, tmp_path, Objective.SFT, Method.LORA))
    assert caught.value.reason is FailureReason.LOSS_NOT_FINITE
