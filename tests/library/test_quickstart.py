"""The quickstart as a person meets it: interrupted in the middle, started again, and an answer at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechless.tiny.__main__ import main as tiny
from tests.library.needs import needs_converter, needs_wheel

pytestmark = pytest.mark.timeout(1800)
STEPS = 9


def start(folder: Path, *given: str, **settings: str) -> "subprocess.Popen[str]":
    """The command, with what it shows in a pipe; `settings` are exported."""
    # A shell's background job ignores SIGINT, and so would its children.
    argv = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "speechless.quickstart",
        "--out",
        str(folder),
        *given,
    ]
    # As where only wheels are installed.
    environment = {name: value for name, value in os.environ.items() if name != "SPEECHLESS_LLAMA_BIN"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.Popen(
        argv,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def trained(log: Path) -> list[int]:
    """The training steps that a log names; 0 is "not begun". What comes before them counts rows."""
    _, _, text = log.read_text().partition(" Working: ")
    return [int(step) for step in re.findall(r" (\d+)/\d+ \(", text)]


def test_from_nothing_to_an_answer_with_an_interruption(tmp_path: Path) -> None:
    needs_converter()
    needs_wheel()
    folder = tmp_path / "out"
    first = start(folder)
    log = folder / "logs" / "04-fine-tune.log"
    while not (log.exists() and max(trained(log), default=0) > 0):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGINT)
    text, _ = first.communicate(timeout=120)
    done = max(trained(log))
    assert first.returncode == 130, text
    assert "interrupted; the same command goes on from here" in text

    second = start(folder)
    text, _ = second.communicate(timeout=1200)
    assert second.returncode == 0, text
    assert text.count("there already") == 3
    assert min(trained(log)) > done, "training went on from its checkpoint"
    assert "answers as OpenAI's API does" in text
    assert text.count(f"/{STEPS}  ") == STEPS
    rows = re.findall(r"│ (base|tuned|quantized \(Q8_0\)) +│ +(\d\.\d\d) ", text)
    assert [name for name, _ in rows] == ["base", "tuned", "quantized (Q8_0)"]
    scores = [float(score) for _, score in rows]
    reports = [
        json.loads((folder / "scores" / name / "humaneval_report.json").read_text())["outcomes"]["passed"]
        for name in ("base", "tuned", "quantized")
    ]
    assert scores == pytest.approx([passed / 40 for passed in reports], abs=0.006)
    assert scores[1] > scores[0], "it learned something"

    third = start(folder)
    text, _ = third.communicate(timeout=300)
    assert third.returncode == 0, text
    assert text.count("there already") == STEPS - 1, "the converter is looked for each time"


@pytest.mark.heavy
def test_a_model_of_ones_own_and_a_setting_edited_in_its_task(tmp_path: Path) -> None:
    needs_converter()
    needs_wheel()
    made, folder = tmp_path / "made", tmp_path / "out"
    assert tiny(["make", "--out", str(made), "--steps", "3", "--rows", "32", "--problems", "3"]) == 0
    given = ("--model", str(made / "base"), "--dataset", str(made / "train.jsonl"))
    given += ("--problems", str(made / "heldout.jsonl"))
    settings = {"NUM_TRAIN_EPOCHS": "1", "PER_DEVICE_TRAIN_BATCH_SIZE": "8", "MODEL_MAX_LENGTH": "128"}
    settings |= {
        "GRADIENT_ACCUMULATION_STEPS": "1",
        "WARMUP_STEPS": "0",
    }  # in which the rate would be all but 0

    first = start(folder, *given, **settings)
    text, _ = first.communicate(timeout=1200)
    assert first.returncode == 0, text
    steps = STEPS - 1
    assert f"{steps}/{steps}  " in text, "no base model is made"
    assert re.search(r"│ tuned .* │ +- │", text), "without a text, no perplexity is measured"
    weights = folder / "tuned" / "merged" / "model.safetensors"
    before = weights.read_bytes()

    task = folder / "tuned" / "task.env"
    task.write_text(task.read_text().replace("LEARNING_RATE:-}", "LEARNING_RATE:-2e-3}"))
    second = start(folder, *given, **settings)
    text, _ = second.communicate(timeout=1200)
    assert second.returncode == 0, text
    assert text.count("there already") == 2, "the base model's score and the task stay"
    assert weights.read_bytes() != before
