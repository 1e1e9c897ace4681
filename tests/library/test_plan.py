"""The plan of a training: it says what a run does, its memory is near what is measured, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.contract import Method, Objective
from speechless.finetune import sizes
from speechless.finetune.__main__ import main as task
from speechless.finetune.finetune import main
from tests.library.training import ROWS, write

pytest_plugins = ("tests.library.model_fixtures",)
# Each trains in a process of its own, on a machine of any speed.
pytestmark = pytest.mark.timeout(900)
CASES = [
    (Objective.SFT, Method.LORA, False),
    (Objective.SFT, Method.LORA, True),
    (Objective.SFT, Method.QLORA, False),
    (Objective.SFT, Method.FULL, False),
    (Objective.DPO, Method.FULL, False),
]


@pytest.fixture
def here(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(model)
    return tmp_path


def measured(
    case: tuple[Objective, Method, bool],
    folder: Path,
    hidden: int = 768,
    vocabulary: int = 0,
    experts: bool = False,
    **environment: str,
) -> dict[str, float]:
    """What a process that trains took, and what was estimated."""
    objective, method, checkpointing = case
    wanted = {"objective": objective, "method": method, "checkpointing": checkpointing, "hidden": hidden, "length": 256,
              "vocabulary": vocabulary, "experts": experts, "batch": 8, "folder": str(folder)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.library.measure_memory", json.dumps(wanted)],
        env=os.environ | environment, capture_output=True, text=True, check=True, timeout=800,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_near_what_is_live(case: tuple[Objective, Method, bool], tmp_path: Path) -> None:
    """Blocks above 64 KiB go back to the system as soon as they are free: the peak is what is live."""
    told = measured(case, tmp_path, MALLOC_MMAP_THRESHOLD_="65536")
    assert 0.75 < told["measured"] / told["live"] < 1.35, told
    assert 0.7e9 < told["libraries"] < 1.2e9


def test_the_estimate_of_experts_is_near_what_is_live(tmp_path: Path) -> None:
    told = measured(CASES[0], tmp_path, experts=True, MALLOC_MMAP_THRESHOLD_="65536")
    assert 0.75 < told["measured"] / told["live"] < 1.35, told


@pytest.mark.parametrize("objective", [Objective.SFT, Objective.DPO, Objective.ORPO])
def test_the_estimate_of_a_large_vocabulary_is_near_what_is_live(
    objective: Objective, tmp_path: Path
) -> None:
    case = (objective, Method.LORA, False)
    told = measured(case, tmp_path, hidden=128, vocabulary=32000, MALLOC_MMAP_THRESHOLD_="65536")
    assert 0.75 < told["measured"] / told["live"] < 1.35, told


def test_the_estimate_is_within_a_factor_of_two_of_the_peak(tmp_path: Path) -> None:
    told = measured(CASES[0], tmp_path)
    assert 0.5 < told["measured"] / told["estimated"] < 2, told


@pytest.mark.parametrize("objective", list(Objective))
def test_a_plan_of_each_objective(
    objective: Objective, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(ROWS[objective], here / "rows.jsonl")
    words = [
        "--model_name_or_path",
        "base",
        "--dataset",
        "rows.jsonl",
        "--objective",
        objective.lower(),
        "--dry_run",
    ]
    before = sorted(here.rglob("*"))
    assert main([*words, "--model_max_length", "64"]) == 0
    told = capsys.readouterr().out
    assert "it fits" in told
    assert "[[" in told
    assert "output       outputs: nothing" in told
    assert main([*words, "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["objective"] == objective
    assert any("the model knows 256 positions" in note for note in made["notes"])
    assert any(piece["learned"] for piece in made["row"]["pieces"])
    assert made["memory"]["total"] == sum(part["bytes"] for part in made["memory"]["components"])
    assert sorted(here.rglob("*")) == before


def test_what_the_plan_says_is_what_the_run_does(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(ROWS[Objective.SFT], here / "rows.jsonl")
    words = ["--model_name_or_path", "base", "--dataset", "rows.jsonl", "--model_max_length", "64", "--lora_r", "4",
             "--eval_dataset_size", "1", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2",
             "--num_train_epochs", "2", "--save_steps", "0"]  # fmt: skip
    assert main([*words, "--dry_run", "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["train_rows"], made["heldout_rows"], made["state"]) == (7, 1, "nothing")
    assert main(words) == 0
    numbers = json.loads((here / "outputs" / "train_results.json").read_text())
    assert made["steps"] == numbers["train/steps"]
    assert made["trained_parameters"] == numbers["train/parameters"]
    for more, said in (
        ([], "a completed run: nothing is done without --restart"),
        (["--learning_rate", "0.5"], "(hyperparameters.learning_rate): refused without --restart"),
        (["--restart"], "an earlier run there is removed (--restart)"),
    ):
        assert main([*words, "--dry_run", *more]) == 0
        assert said in capsys.readouterr().out


def test_a_row_that_the_run_leaves_out_is_left_out_of_the_plan(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(here / "base", here / "strict"))
    template = "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('no') }}{% endif %}"
    (base / "chat_template.jinja").write_text(
        template + "{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    )
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "return x"}]}
        for asked in ("no", "sum of x", "no")
    ]
    write(rows, here / "rows.jsonl")
    words = [
        "--model_name_or_path",
        "strict",
        "--dataset",
        "rows.jsonl",
        "--eval_dataset_size",
        "0",
        "--dry_run",
    ]
    assert main(words) == 1
    assert "rows.jsonl:1: the chat template of strict refuses" in capsys.readouterr().err
    assert main([*words, "--bad_rows", "skip", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["row"]["where"] == "rows.jsonl:2"
    write(rows[:1], here / "rows.jsonl")
    assert main([*words, "--bad_rows", "skip"]) == 1
    assert "rows.jsonl:1: " in capsys.readouterr().err


def test_a_task_directory_is_planned_without_its_script(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert task(["init", "--task_name", "x"]) == 0
    write(ROWS[Objective.SFT], here / "x" / "dataset" / "rows.jsonl")
    (here / "x" / "run_finetune.sh").write_text("touch ran\n")
    with (here / "x" / "task.env").open("a") as file:
        file.write("BASE_MODEL_PATH=../base\nNEFTUNE='--neftune --noise_alpha 5.0'\nPACKING=True\n")
    done = subprocess.run(
        [sys.executable, "-m", "speechless.finetune", "run", "--task_name", "x", "--dry-run", "-o", "json"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["batch"], made["schedule"], made["longest"]) == (16, "cosine", 2048)
    assert "--noise_alpha 5.0 is deprecated: use --neftune_noise_alpha 5.0" in made["notes"]
    assert not (here / "x" / "ran").exists()
    assert not (here / "x" / "outputs").exists()


def test_a_model_with_new_weights_needs_none_for_its_plan(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(here / "base", here / "shape", ignore=ignored)
    write(ROWS[Objective.PRETRAIN], here / "rows.jsonl")
    words = ["--model_name_or_path", "shape", "--dataset", "rows.jsonl", "--objective", "pretrain",
             "--pretrain_from_scratch", "--full_finetune", "--model_max_length", "64", "--dry_run",
             "-o", "json"]  # fmt: skip
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == sizes.shape_of(here / "base").parameters
    assert main([word for word in words if word != "--pretrain_from_scratch"]) == 1
    assert "shape: no weights: " in capsys.readouterr().err


def test_a_models_size_is_read_from_its_headers(model: Path) -> None:
    from transformers import AutoModelForCausalLM

    shape = sizes.shape_of(model)
    loaded = AutoModelForCausalLM.from_pretrained(model)
    assert shape.parameters == sum(parameter.numel() for parameter in loaded.parameters())
    assert {name for name, _, _ in shape.linear} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
