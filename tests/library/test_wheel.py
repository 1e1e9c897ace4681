"""What is installed, not the checkout: a wheel drives a model from nothing to its merge, in an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(*argv: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program without this checkout's import path; what it printed on both streams."""
    done = subprocess.run(
        argv, cwd=cwd, env=CLEAN | environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel; what it needs comes from this environment, whose own install is not seen."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    installed = folder / "env" / "bin" / "python"
    # uv is there for the locks; it checks the wheel's list of files.
    run(Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--offline", "--no-deps",
        "--python", installed, wheel, cwd=folder)  # fmt: skip
    own = run(installed, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A folder that is named so is searched, and the .pth files in it are not read.
    (Path(own) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return installed


@pytest.mark.timeout(600)
def test_from_nothing_to_a_merged_model_in_an_empty_directory(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import speechless; print(speechless.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(python.parents[1])
    home = tmp_path / "home"
    here = tmp_path / "here"
    here.mkdir()

    def speechless(*words: str, **environment: str) -> str:
        return run(python, "-m", *words, cwd=here, HOME=str(home), OMP_NUM_THREADS="1", **environment)

    little = ("--preset", "small", "--steps", "2", "--rows", "12", "--problems", "2")
    speechless("speechless.tiny", "make", "--out", "tiny", *little)
    told = speechless("speechless.finetune", "init", "--task_name", "mine")
    assert "mine is made" in told
    assert speechless("speechless.finetune", "list").split() == ["mine"]
    settings = {"BASE_MODEL_PATH": "../tiny/base", "DATASET": "../tiny/train.jsonl", "NUM_TRAIN_EPOCHS": "1",
                "MODEL_MAX_LENGTH": "64", "TEST_MODEL_PATH": "../merged"}  # fmt: skip
    assert "it fits" in speechless(
        "speechless.finetune", "run", "--task_name", "mine", "--dry-run", **settings
    )
    speechless("speechless.finetune", "run", "--task_name", "mine", **settings)
    numbers = json.loads((here / "mine" / "outputs" / "train_results.json").read_text())
    assert numbers["train/rows"] == 12
    speechless("speechless.finetune", "merge", "--task_name", "mine", **settings)
    assert (here / "merged" / "model.safetensors").is_file()
    # Nothing came from elsewhere than the wheel, and nothing went elsewhere than here and to the user's home.
    assert sorted(path.name for path in here.iterdir()) == ["merged", "mine", "tiny"]
