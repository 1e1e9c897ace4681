"""Training in processes of its own: what the starter is told, and what becomes of a run whose processes are ended."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Method, Objective
from speechless.errors import StageError
from speechless.finetune import launch
from speechless.finetune.run import train
from tests.library.training import SETTINGS, digest, request

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)


class Told:
    """What a starter was told."""

    def __init__(self, stop_at: int = 0) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.stop_at = stop_at

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        assert total == SETTINGS.max_steps
        self.steps.append(step)
        if "loss" in values:
            self.losses.append(values["loss"])

    def stopping(self) -> bool:
        return bool(self.stop_at) and self.steps[-1:] >= [self.stop_at]


def trained(model: Path, folder: Path, told: Told, ranks: int = 1, **more: Any) -> Any:
    wanted = request(model, folder, Objective.SFT, Method.LORA, **more)
    return train(wanted, told.progress, told.stopping, ranks=ranks)


def test_it_learns_stops_and_goes_on(model: Path, tmp_path: Path) -> None:
    straight = Told()
    outcome = trained(model, tmp_path / "straight", straight)
    assert outcome.steps == SETTINGS.max_steps
    assert straight.losses[-1] < 0.7 * straight.losses[0]
    with pytest.raises(StageError) as stopped:
        trained(model, tmp_path / "stopped", Told(stop_at=3))
    assert stopped.value.reason is FailureReason.INTERRUPTED
    assert trained(model, tmp_path / "stopped", Told()).resumed_from >= 3
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


def test_several_ranks_take_the_same_steps_and_end_together(model: Path, tmp_path: Path) -> None:
    """Two ranks with half the rows a batch see what one sees; gradients are averaged over them."""
    half = SETTINGS.model_copy(update={"per_device_train_batch_size": 2})
    one, two = Told(), Told()
    trained(model, tmp_path / "one", one)
    trained(model, tmp_path / "two", two, ranks=2, hyperparameters=half)
    assert two.losses == pytest.approx(one.losses, rel=0.15)
    with pytest.raises(StageError) as stopped:
        trained(model, tmp_path / "stopped", Told(stop_at=3), ranks=2, hyperparameters=half)
    assert stopped.value.reason is FailureReason.INTERRUPTED
    outcome = trained(model, tmp_path / "stopped", Told(), ranks=2, hyperparameters=half)
    assert 0 < outcome.resumed_from < SETTINGS.max_steps
    assert digest(tmp_path / "two" / "out") == digest(tmp_path / "stopped" / "out")


def started(model: Path, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """The command line, as a user starts it; 30 steps, a checkpoint after every second one."""
    folder.mkdir(exist_ok=True)
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "sum of x", "completion": " return x (2)"}\n' * 8)
    argv = [
        *(
            "--model_name_or_path",
            str(model),
            "--dataset",
            str(rows),
            "--output_dir",
            str(folder / "outputs"),
        ),
        *("--max_steps", "30", "--save_steps", "2", "--eval_dataset_size", "0"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *words,
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "speechless.finetune.finetune", *argv],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def steps_logged(folder: Path) -> int:
    log = folder / "outputs" / "trainer_log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def child_of(pid: int) -> int:
    """The process that trains."""
    (found,) = (
        int(child)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if b"speechless.finetune.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    return found


def weights(folder: Path) -> dict[str, str]:
    """Of a whole model, which is in the output folder beside its checkpoints and logs."""
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.safetensors")
    }
    assert found
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="LoRA"),
        pytest.param(["--full_finetune", "--learning_rate", "1e-3"], id="Full", marks=pytest.mark.heavy),
        pytest.param(
            ["--bits", "4", "--lora_dropout", "0.1"], id="QLoRA with dropout", marks=pytest.mark.heavy
        ),
    ],
)
def test_ten_kills_at_random_steps_end_with_the_weights_of_an_undisturbed_run(
    words: list[str], model: Path, tmp_path: Path
) -> None:
    straight = started(model, tmp_path / "straight", *words)
    told = straight.communicate()[1].decode()
    assert straight.returncode == 0, told
    chance = random.Random(11)
    kills = ["TERM", "KILL", "KILL of the process that trains"] * 3 + ["KILL"]
    chance.shuffle(kills)
    for kill in kills:
        before = steps_logged(tmp_path / "killed")
        run = started(model, tmp_path / "killed", *words)
        wanted = before + chance.randint(1, 4)
        while run.poll() is None and steps_logged(tmp_path / "killed") < wanted:
            time.sleep(0.005)
        assert run.poll() is None, f"it ended before it was killed: {run.communicate()[1].decode()}"
        match kill:
            case "TERM":
                run.terminate()
            case "KILL":
                worker = child_of(run.pid)
                run.kill()
            case _:
                os.kill(child_of(run.pid), signal.SIGKILL)
        said = run.communicate()[1].decode()
        match kill:
            case "TERM":
                assert run.returncode == 1
                assert "stopped by a signal at step" in said
            case "KILL":
                until = time.monotonic() + 20
                while Path(f"/proc/{worker}").exists():
                    assert time.monotonic() < until, (
                        "the process that trains outlived the one that started it"
                    )
                    time.sleep(0.05)
            case _:
                assert run.returncode == 1
                assert "was killed (SIGKILL)" in said
    last = started(model, tmp_path / "killed", *words)
    told = last.communicate()[1].decode()
    assert last.returncode == 0, told
    assert "going on from step" in told
    results = []
    for name in ("straight", "killed"):
        adapter = tmp_path / name / "outputs" / "latest" / "adapter_model"
        folder = adapter.resolve() if adapter.exists() else tmp_path / name / "outputs"
        results.append(digest(folder) if adapter.exists() else weights(folder))
    # The card names the rows by their path, which is another one here.
    assert results[0].keys() == results[1].keys()
    assert {name for name in results[0] if results[0][name] != results[1][name]} <= {"README.md"}
    # `latest` and `adapter_model` apart, nothing of a killed attempt is left behind.
    kept = [path.name for path in (tmp_path / "killed" / "outputs").glob("checkpoint-*")]
    assert "checkpoint-30" in kept


def test_a_second_run_in_the_same_folder_is_refused(model: Path, tmp_path: Path) -> None:
    first = started(model, tmp_path)
    while first.poll() is None and not (tmp_path / "outputs" / ".lock").exists():
        time.sleep(0.01)
    second = started(model, tmp_path)
    said = second.communicate()[1].decode()
    assert second.returncode == 2
    assert "is used by another run that is still going on" in said
    first.kill()
    first.communicate()


def test_a_defect_of_the_process_that_trains_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "WORKER", "speechless.finetune.no_such_module")
    with pytest.raises(RuntimeError, match="the process that trains ended with status 2"):
        trained(model, tmp_path, Told())
