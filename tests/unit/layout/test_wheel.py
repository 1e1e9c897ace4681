"""One install brings both packages whole: the wheel into an empty environment, and the editable one of `make setup`."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

import speechless
from tests.unit.layout.repository import ROOT, files

BIN = Path(sys.prefix) / "bin"
VERSION = speechless.__version__


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a program outside the checkout and without its import path; return what it printed, fail if it failed."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def installed_names(sources: Iterable[Path]) -> set[str]:
    """Where the packages' files, data included, belong in the wheel: the folder operator/ is not part of a name."""
    names = {path.as_posix() for path in sources}
    operator = {
        name.removeprefix("operator/") for name in names if name.startswith("operator/speechless_operator/")
    }
    return operator | {name for name in names if name.startswith("speechless/")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by the locked back end without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(BIN / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_file_of_both_packages(wheel: Path) -> None:
    expected = installed_names(files())
    assert {"speechless/py.typed", "speechless_operator/py.typed"} <= expected, (
        "data files are part of this test"
    )
    content = set(zipfile.ZipFile(wheel).namelist())
    assert expected - content == set()
    extra = {name for name in content - expected if ".dist-info/" not in name}
    assert extra == set(), "the wheel holds files that are not the packages'"


def test_a_data_file_that_is_missing_is_caught() -> None:
    sources = [
        Path("speechless/a.env"),
        Path("operator/speechless_operator/b.yaml"),
        Path("operator/README.md"),
    ]
    assert installed_names(sources) - {"speechless/a.env"} == {"speechless_operator/b.yaml"}


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, "env", cwd=tmp_path)
    env = tmp_path / "env" / "bin"
    # With its declared dependencies, in the locked versions.
    lock = ROOT / "requirements" / "dev.txt"
    run(
        BIN / "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        env / "python",
        "--constraint",
        lock,
        wheel,
        cwd=tmp_path,
    )
    assert run(env / "speechless", "--version", cwd=tmp_path) == f"speechless {VERSION}"
    assert run(env / "python", "-m", "speechless", "--version", cwd=tmp_path) == f"speechless {VERSION}"
    assert run(env / "speechless-operator", "--version", cwd=tmp_path) == f"speechless-operator {VERSION}"
    module = run(env / "python", "-m", "speechless_operator", "--version", cwd=tmp_path)
    assert module == f"speechless-operator {VERSION}"
    where = run(env / "python", "-c", "import speechless_operator as o; print(o.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(tmp_path)


def test_the_editable_install_finds_both_packages_here(tmp_path: Path) -> None:
    code = "import speechless as s, speechless_operator as o, operator; print(s.__file__, o.__file__, operator.not_(0))"
    library, operator, yes = run(BIN / "python", "-c", code, cwd=tmp_path).split()
    assert Path(library) == ROOT / "speechless" / "__init__.py"
    assert Path(operator) == ROOT / "operator" / "speechless_operator" / "__init__.py"
    assert yes == "True", "the folder operator/ hides the standard library's module"
    assert run(BIN / "speechless", "--version", cwd=tmp_path) == f"speechless {VERSION}"


def test_the_version_is_written_down_twice_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_the_extra_all_has_all() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    every = {word for name, words in extras.items() if name != "all" for word in words}
    assert set(extras["all"]) - every == {"openai>=3"}
    assert every - set(extras["all"]) == set()
