"""Trackers by their own packages: what they have is read by their own readers, and none of them costs a training."""

from __future__ import annotations

import json
import logging
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import ExitCode, Experts, FailureReason, Method, Objective, StageResult
from speechless.contract.tracking import Tracker
from speechless.errors import StageError
from speechless.finetune import harness, trackers
from speechless.finetune.finetune import main
from speechless.finetune.job import Reporting
from speechless.finetune.trackers import mlflow as ours
from speechless.finetune.trackers import wandb as wandb_ours
from tests.library.mlflow_server import Server, free_port, serving
from tests.library.training import ROWS, SETTINGS, Record, digest, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
STEPS = list(range(1, 13))
VARIABLES = (
    *("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"),
    *("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_BASE_URL", "WANDB_PROJECT"),
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def reporting(folder: Path, *names: Tracker, stays: bool = True) -> dict[str, Any]:
    return {
        "tracking": Reporting(
            trackers=names,
            name="team/tuned",
            folder=folder / "runs" if stays else None,
            scratch=folder / "scratch",
        )
    }


class Acting(Record):
    """Does something when a step was told."""

    def __init__(self, folder: Path, **at: Any) -> None:
        super().__init__(folder)
        self._at = {int(name.removeprefix("step")): act for name, act in at.items()}

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        super().progress(step, total, values)
        if "loss" in values and step in self._at:
            self._at.pop(step)()


class Crash(Exception):  # noqa: N818 - it stands for the end of a process
    """The process ends without a word."""


def crash() -> None:
    raise Crash


# ---------------------------------------------------------------------------------------------------------- TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_the_values_of_a_run_that_was_interrupted_and_crashed(
    model: Path, tmp_path: Path
) -> None:
    settings = reporting(tmp_path, Tracker.TENSORBOARD) | {"every_steps": 4, "heldout": 4}
    with pytest.raises(StageError, match="stopped by a signal"):
        run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings), stop_at=3)
    going_on = job(model, tmp_path, Objective.SFT, Method.LORA, **settings)
    # What it logs after the checkpoint of step 4, the next attempt logs again.
    with pytest.raises(Crash):
        harness.train(going_on, Acting(going_on.checkpoints, step6=crash))
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    (folder,) = {file.parent for file in (tmp_path / "runs").rglob("events.out.tfevents.*")}
    assert folder == tmp_path / "runs" / "team" / "tuned"
    found = scalars(folder)
    assert [step for step, _ in found["train/loss"]] == STEPS
    assert [value for _, value in found["train/loss"]][-8:] == pytest.approx(told.losses(), rel=1e-5)
    rates = [value for _, value in found["train/learning_rate"]]
    assert rates[0] == pytest.approx(5e-3)
    assert rates[-1] < rates[0]
    assert found["eval/loss"][-1][0] == 12
    assert {"train/grad_norm", "train/epoch", "train/tokens_per_second", "train/memory_gb"} <= found.keys()
    assert not [path for path in (tmp_path / "out").rglob("*") if "events" in path.name]


def test_another_run_of_the_name_gets_a_folder_of_its_own(model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        settings = reporting(tmp_path, Tracker.TENSORBOARD)
        run(job(model, tmp_path / name, Objective.SFT, Method.LORA, **settings))
    for name in ("tuned", "tuned-2"):
        assert [step for step, _ in scalars(tmp_path / "runs" / "team" / name)["train/loss"]] == STEPS
    # The result is the same, byte for byte, as without a tracker.
    run(job(model, tmp_path / "three", Objective.SFT, Method.LORA))
    assert (
        digest(tmp_path / "one" / "out")
        == digest(tmp_path / "two" / "out")
        == digest(tmp_path / "three" / "out")
    )


def test_files_that_would_go_with_the_pod_are_refused_before_the_model_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job(
        without_weights(model, tmp_path), tmp_path, Objective.SFT, Method.LORA,
        **reporting(tmp_path, Tracker.TENSORBOARD, stays=False),
    )  # fmt: skip
    with pytest.raises(StageError, match="tracker TensorBoard is not set up") as refused:
        run(wanted)
    assert refused.value.reason is FailureReason.INVALID_SPEC
    assert "outlives the pod by TENSORBOARD_LOGGING_DIR" in refused.value.hint
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(StageError, match=r"tracker TensorBoard: .*file.*: Not a directory") as refused:
        run(wanted)
    assert refused.value.reason is FailureReason.INVALID_SPEC


def without_weights(model: Path, folder: Path) -> Path:
    """A model that cannot be loaded: what fails earlier has failed before that."""
    shutil.copytree(model, folder / "torn")
    for file in (folder / "torn").glob("*.safetensors"):
        file.unlink()
    return folder / "torn"


# --------------------------------------------------------------------------------------------------------------- MLflow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


def runs_of(uri: str, experiment: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    found = MlflowClient(uri).get_metric_history(run_id, name)
    return sorted((one.step, one.value) for one in found)


def test_mlflow_has_one_run_of_a_training_that_was_interrupted(
    model: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    settings = reporting(tmp_path, Tracker.MLFLOW, stays=False) | {"heldout": 4}
    first, _ = interrupted(model, tmp_path, settings)
    (found,) = runs_of(server.uri, "speechless")
    assert (found.info.status, found.info.run_name) == ("KILLED", "team/tuned")
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    (again,) = runs_of(server.uri, "speechless")
    assert (again.info.run_id, again.info.status) == (found.info.run_id, "FINISHED")
    losses = history(server.uri, again.info.run_id, "train/loss")
    assert losses == list(zip(STEPS, [*first.losses(), *told.losses()], strict=True))
    assert [step for step, _ in history(server.uri, again.info.run_id, "train/learning_rate")] == STEPS
    assert history(server.uri, again.info.run_id, "eval/loss")[-1][0] == 12
    given = again.data.params
    assert (given["hyperparameters.max_length"], given["lora.r"], given["base_name"]) == ("64", "8", "base")
    assert not [value for value in given.values() if str(tmp_path) in value or str(model) in value]


def interrupted(model: Path, folder: Path, settings: Mapping[str, Any]) -> tuple[Record, Path]:
    wanted = job(model, folder, Objective.SFT, Method.LORA, **settings)
    told = Record(wanted.checkpoints, 5)
    with pytest.raises(StageError, match="stopped by a signal"):
        harness.train(wanted, told)
    return told, wanted.checkpoints


def test_a_server_that_refuses_is_told_in_one_line_before_the_model_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    wanted = job(
        without_weights(model, tmp_path), tmp_path, Objective.SFT, Method.LORA,
        **reporting(tmp_path, Tracker.MLFLOW),
    )  # fmt: skip
    with pytest.raises(StageError, match=f"tracker MLflow at http://127.0.0.1:{port} cannot be") as refused:
        run(wanted)
    assert refused.value.reason is FailureReason.TRACKER_UNAVAILABLE
    assert refused.value.exit_code is ExitCode.UNAVAILABLE
    assert "Connection refused" in refused.value.message
    assert "\n" not in refused.value.message
    assert "secret" not in refused.value.message


def test_a_server_that_goes_away_costs_nothing_and_gets_all_when_it_is_back(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "speechless")
    monkeypatch.setitem(ours._DEFAULTS, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ours._DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    with serving(tmp_path) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        settings = reporting(tmp_path, Tracker.MLFLOW)
        wanted = job(model, tmp_path / "back", Objective.SFT, Method.LORA, **settings)
        harness.train(wanted, Acting(wanted.checkpoints, step4=server.stop, step9=server.start))
        (found,) = runs_of(server.uri, "speechless")
        values = set(history(server.uri, found.info.run_id, "train/loss"))
        # What it had stored, but not confirmed, when it went away is there twice, and the same.
        assert sorted(step for step, _ in values) == STEPS
        assert found.info.status == "FINISHED"
        warned = [line for line in caplog.messages if "MLflow does not answer" in line]
        assert len(warned) == 1
        assert "the training goes on" in warned[0]
        assert "MLflow answers again" in caplog.messages
        # And one that stays away.
        monkeypatch.setattr(trackers.End, "seconds", 2.0)
        wanted = job(model, tmp_path / "gone", Objective.SFT, Method.LORA, every_steps=4, **settings)
        told = Acting(wanted.checkpoints, step6=server.stop)
        assert harness.train(wanted, told).steps == 12
        assert "MLflow does not answer: its run was not ended, and misses values" in caplog.messages
        assert digest(tmp_path / "back" / "out") == digest(tmp_path / "gone" / "out")
        # Nor is a training given up that goes on while the server is away.
        caplog.clear()
        shutil.rmtree(wanted.checkpoints / "checkpoint-12")
        shutil.rmtree(wanted.out)
        _, outcome = run(job(model, tmp_path / "gone", Objective.SFT, Method.LORA, **settings))
        assert outcome.resumed_from == 8
        assert any("cannot be reported to" in line and "goes on" in line for line in caplog.messages)
        assert digest(tmp_path / "back" / "out") == digest(tmp_path / "gone" / "out")


# ----------------------------------------------------------------------------------------------------- Weights & Biases


def records(file: Path) -> Iterator[Any]:
    """W&B's records in its file: blocks of LevelDB's log format behind a header of 7 bytes, protobuf within."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data, place, whole = file.read_bytes(), 7, b""
    while place < len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # FULL, LAST
            yield Message.FromString(whole)
            whole = b""


@pytest.fixture
def _new_to_wandb() -> None:
    """It reads its variables once a process."""
    import wandb

    wandb.teardown()


@pytest.mark.usefixtures("_new_to_wandb")
def test_wandb_has_the_values_in_files_and_its_run_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = reporting(tmp_path, Tracker.WANDB) | {"heldout": 4}
    interrupted(model, tmp_path, settings)
    run(job(model, tmp_path, Objective.SFT, Method.LORA, **settings))
    wandb.teardown()  # as at a process's end: its own process has written all
    files = sorted((tmp_path / "runs" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    # One run, of two parts.
    assert len({file.name for file in files}) == 1
    steps, names = [], set[str]()
    for file in files:
        for record in records(file):
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if "train/loss" in items:
                steps.append(int(items["train/global_step"]))
            names |= items.keys()
            if record.HasField("run"):
                assert (record.run.display_name, record.run.project) == ("team/tuned", "speechless")
    assert steps == STEPS
    assert {"train/loss", "train/learning_rate", "eval/loss"} <= names


@pytest.mark.usefixtures("_new_to_wandb")
def test_wandb_without_a_key_or_a_server_is_told_before_the_model_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job(
        without_weights(model, tmp_path), tmp_path, Objective.SFT, Method.LORA,
        **reporting(tmp_path, Tracker.WANDB),
    )  # fmt: skip
    with pytest.raises(StageError, match="tracker WandB is not set up") as refused:
        run(wanted)
    assert refused.value.hint == "set WANDB_API_KEY, or WANDB_MODE=offline for files alone, or leave it out"
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(wandb_ours, "_START_SECONDS", 3.0)
    for _ in range(2):  # once more is no other error
        with pytest.raises(
            StageError, match=r"tracker WandB cannot be reported to: .*connection refused"
        ) as away:
            run(wanted)
        assert away.value.reason is FailureReason.TRACKER_UNAVAILABLE


# ----------------------------------------------------------------------------------------------------- the command line


def test_all_is_what_is_set_up_and_the_result_holds_no_times(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = f"""--model_name_or_path {model} --dataset rows.jsonl --output_dir outputs --task_name mine --max_steps 3
        --eval_dataset_size 0 --bits 32 --lora_r 8 --model_max_length {SETTINGS.max_length}
        --gradient_accumulation_steps 1 --report_to all""".split()
    assert main([*words, "--dry_run"]) == 0
    assert not (tmp_path / "outputs").exists()
    assert main(words) == 0
    assert "--report_to all: TensorBoard\n" in capsys.readouterr().err
    assert [step for step, _ in scalars(tmp_path / "outputs" / "runs" / "mine")["train/loss"]] == [1, 2, 3]
    with pytest.raises(SystemExit):
        main([*words, "--report_to", "comet_ml"])
    assert "--report_to comet_ml is not offered" in capsys.readouterr().err
    assert main([*words, "--report_to", "mlflow", "--restart"]) == 2
    assert "tracker MLflow is not set up (name the server by MLFLOW_TRACKING_URI" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- stage


def stage(folder: Path, **spec: Any) -> StageResult:
    """What the stage says of a run, in a process of its own, as in a pod."""
    told = {
        "stage": "finetune",
        "workDir": str(folder / "work"),
        "run": {"namespace": "team", "name": "tuned"},
    }
    (folder / "stage.json").write_text(json.dumps(told | spec))
    argv = [sys.executable, "-m", "speechless.stage", "finetune", "--spec", str(folder / "stage.json")]
    argv += ["--listen", "127.0.0.1:0", "--result", str(folder / "result.json")]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert (folder / "result.json").is_file(), done.stderr
    return StageResult.model_validate_json((folder / "result.json").read_text())


def test_a_stage_reports_by_the_resources_name_and_finds_its_artifact_whoever_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    spec = {
        "model": {"uri": model.as_uri()},
        "dataset": {"uri": rows.as_uri()},
        "hyperparameters": {"maxSteps": 3, "maxLength": SETTINGS.max_length, "warmupRatio": 0.5},
        "checkpoints": {"everyEpoch": True},
        "output": (tmp_path / "artifact").as_uri(),
    }
    watched = spec | {"tracking": {"reportTo": ["TensorBoard"]}}
    refused = stage(tmp_path, **watched)
    assert refused.failure is not None
    assert refused.failure.reason is FailureReason.INVALID_SPEC
    assert "TENSORBOARD_LOGGING_DIR" in refused.failure.hint
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    made = stage(tmp_path, **watched)
    assert made.artifact is not None
    found = scalars(tmp_path / "logs" / "team" / "tuned")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3]
    rates = [value for _, value in found["train/learning_rate"]]
    assert rates.index(max(rates)) > 0
    assert not [path for path in (tmp_path / "artifact").rglob("*") if "events" in path.name]
    again = stage(tmp_path, **spec)
    assert again.reused
    assert again.artifact is not None
    assert again.artifact.digest == made.artifact.digest


@pytest.mark.parametrize(
    ("method", "more", "shown"),
    [
        (Method.FULL, {}, set()),
        (Method.LORA, {}, {"lora"}),
        (Method.QLORA, {}, {"lora", "qlora"}),
        (Method.QLORA, {"experts": Experts()}, {"experts", "qlora"}),
    ],
)
def test_what_is_trained_is_among_the_settings(
    model: Path, tmp_path: Path, method: Method, more: dict[str, Any], shown: set[str]
) -> None:
    told = trackers.settings(job(model, tmp_path, Objective.SFT, method, **more))
    assert {"lora", "qlora", "experts"} & set(told) == shown
