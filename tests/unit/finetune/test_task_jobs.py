"""The jobs of a task directory: its Makefile and its scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.finetune import tasks


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASE_MODEL_PATH", "m")
    made = tasks.init(tmp_path, "x", tasks.find_template(None, {}))
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("target", "argv"),
    [
        ("vllm_serve", "serve models/mine --served-model-name mine --port 4000 --tensor-parallel-size 2"),
        (
            "sglang_serve",
            "-m sglang.launch_server --model-path models/mine --served-model-name mine --port 5000 --tp-size 2",
        ),
        ("inference", "-m speechless.generate --model models/mine --prompt what is 1?"),
        ("train", "-m speechless.finetune.finetune --model_name_or_path m"),
        ("merge", "-m speechless.finetune.merge_peft_adapters --base_model_name_or_path m"),
    ],
)
def test_a_task_has_a_word_for_each_of_its_jobs(
    target: str, argv: str, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs write what they are started with; vLLM and SGLang themselves are not run."""
    folder = task / "bin"
    folder.mkdir()
    for name in ("vllm", "python"):
        (folder / name).write_text('#!/bin/bash\n[ "$1" = -c ] || printf "%s" "$*" > argv\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHON", str(folder / "python"))
    monkeypatch.setenv("PROMPT", "what is 1?")
    with (task / "task.env").open("a") as file:
        file.write("TEST_MODEL_PATH=models/mine\nVLLM_PORT=4000\nSGLANG_PORT=5000\nTENSOR_PARALLEL_SIZE=2\n")
    subprocess.run(["make", "--silent", target], cwd=task, check=True)
    assert (task / "argv").read_text().startswith(argv)


def test_an_engine_that_is_not_installed_is_named(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    for script, engine in (("vllm_serve.sh", "vllm"), ("run_sglang_serve.sh", "sglang")):
        done = subprocess.run(["bash", task / script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (127, "")
        assert (
            done.stderr
            == f"{script}: {engine} is not installed: pip install {engine}, on a machine with a GPU\n"
        )
