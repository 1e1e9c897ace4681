"""Models and data by the words that a person writes: trained, merged, scored, quantized and served out of a bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speechless.generate.http import NoAnswerError, ask
from speechless.store import digest_tree
from tests.library.hub_server import Hub, hub
from tests.library.needs import needs_converter
from tests.support import s3
from tests.support.ports import free_port
from tests.support.wait import wait_for

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(900)
Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROW = json.dumps({"prompt": "sum x", "completion": " return 1"}) + "\n"
PROBLEM = json.dumps(
    {
        "task_id": "t/1",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    pass",
        "canonical_solution": "    return 1",
    }
)
SMALL = {"NUM_TRAIN_EPOCHS": "1", "PER_DEVICE_TRAIN_BATCH_SIZE": "2", "MODEL_MAX_LENGTH": "64", "LORA_R": "4"}


@pytest.fixture(scope="module")
def server(
    model: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[s3.Server, Hub]]:
    """A bucket `b-b` with a model, rows, a problem and a text, and a hub with rows."""
    folder = tmp_path_factory.mktemp("s3")
    with s3.serving(folder) as found, hub() as repos:
        bucket = found.bucket("b-b")
        shutil.copytree(model, bucket / "models" / "tiny")
        (bucket / "rows").mkdir()
        (bucket / "rows" / "a.jsonl").write_text(ROW * 4)
        (bucket / "problems.jsonl").write_text(PROBLEM + "\n")
        shutil.copy(text_file, bucket / "text.txt")
        rows = folder / "repo"
        rows.mkdir()
        (rows / "train.jsonl").write_text(ROW * 3)
        repos.repos["org/rows"] = rows
        yield found, repos


@pytest.fixture
def run(server: tuple[s3.Server, Hub], tmp_path: Path) -> Run:
    """A command in a folder of its own, with an empty cache."""
    (tmp_path / "work").mkdir()
    own = {
        "SPEECHLESS_CACHE_DIR": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": server[1].url,
        "PYTHONPATH": os.pathsep.join(sys.path),
        **server[0].environment(),
        "NO_PROXY": "*",
    }

    def go(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        dropped = {"HF_HUB_OFFLINE", "HF_TOKEN"}
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path / "work",
            env={key: value for key, value in os.environ.items() if key not in dropped} | own | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return go


def test_a_task_trains_on_a_bucket_a_hub_and_a_path(run: Run, model: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "more.jsonl").write_text(ROW * 2)
    places = {
        "BASE_MODEL_PATH": "s3://b-b/models/tiny",
        "DATASET": "s3://b-b/rows,hf://datasets/org/rows@v1,org/rows,../more.jsonl",
    }
    assert run("speechless.finetune", "init", "--task_name", "fix").returncode == 0
    done = run("speechless.finetune", "run", "--task_name", "fix", **SMALL, **places)
    assert done.returncode == 0, done.stderr
    assert "12 rows" in done.stderr, "4 of the bucket, 3 of the hub twice, 2 of the path"
    latest = work / "fix" / "outputs" / "latest"
    adapter = json.loads((latest / "adapter_model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "s3://b-b/models/tiny"
    done = run("speechless.finetune", "merge", "--task_name", "fix", **places)
    assert done.returncode == 0, done.stderr
    assert (work / "fix" / "merged" / "config.json").is_file()
    # The same run again: done; with other rows: another run.
    done = run("speechless.finetune", "run", "--task_name", "fix", **SMALL, **places)
    assert "holds a completed run" in done.stdout
    (entry,) = (tmp_path / "cache" / "entries").glob("*/content/config.json")
    assert digest_tree(entry.parent)[0] == digest_tree(model)[0]


def test_lengths_are_told_in_a_buckets_models_tokens(run: Run) -> None:
    done = run("speechless.data", "check", "s3://b-b/rows", "--model", "s3://b-b/models/tiny", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"]["lengths"]["total"] > 0


def test_a_hubs_dataset_is_checked(run: Run) -> None:
    for word in ("org/rows@v1", "hf://datasets/org/rows/train.jsonl"):
        done = run("speechless.data", "check", word, "-o", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == 3
    done = run("speechless.data", "check", "hf://org/rows@v9")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert "no branch, tag or commit 'v9'" in line


def test_a_buckets_model_is_scored_on_a_buckets_problems(run: Run, tmp_path: Path) -> None:
    words = ["--model", "s3://b-b/models/tiny", "--data", "s3://b-b/problems.jsonl", "--temperature", "0"]
    done = run("speechless.eval.humaneval", *words, "--max_len", "8", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["output_dir"] == "eval_results/humaneval/tiny"
    assert told["report"]["data_name"] == "problems.jsonl"
    # What was generated is scored without the model.
    shutil.rmtree(tmp_path / "cache")
    done = run("speechless.eval.humaneval", "--do_eval", *words)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "cache" / "entries").glob("*/content/config.json"))


def test_a_buckets_model_is_quantized(run: Run, tmp_path: Path) -> None:
    needs_converter()
    words = ["--model_path", "s3://b-b/models/tiny", "--llamacpp_quant_type", "q8_0", "-o", "json"]
    done = run("speechless.quant", "llamacpp", *words, "--verify_text", "s3://b-b/text.txt")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["f16"]) == Path("tiny-GGUF/tiny.f16.gguf"), "not into the cache"
    assert (tmp_path / "work" / told["f16"]).is_file()
    assert "perplexity/before" in told["metrics"]


def test_a_buckets_model_is_served(run: Run, server: tuple[s3.Server, Hub], tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "speechless.api.server", "start", "--model", "s3://b-b/models/tiny"]
    environment = os.environ | server[0].environment() | {"SPEECHLESS_CACHE_DIR": str(tmp_path / "cache")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "--host", "127.0.0.1", "--port", str(port)], env=environment, stdout=log, stderr=log
        )

    def answers() -> bytes | None:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            status, body = ask(f"http://127.0.0.1:{port}/v1/models", timeout=5, direct=True)[:2]
        except NoAnswerError:
            return None
        return body if status == 200 else None

    try:
        body = wait_for(answers, "the server to answer", timeout=300, describe=(tmp_path / "log").read_text)
        assert [each["id"] for each in json.loads(body)["data"]] == ["tiny"]
        # What is served stays in the cache.
        done = run("speechless.store", "cache", "clear", "-o", "json")
        assert [each["in_use"] for each in json.loads(done.stdout)["sources"]] == [True]
    finally:
        process.terminate()
        process.wait(60)
    assert json.loads(run("speechless.store", "cache", "clear", "-o", "json").stdout)["sources"] == []
