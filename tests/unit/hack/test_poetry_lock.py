"""poetry.lock is that of pyproject.toml, with the versions of requirements/constraints.txt; and how it is made."""

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import poetry_lock
from poetry_lock import ROOT, TARGET, content_hash, extras_of, finished, pins, plain, seed, strays

LOCK = (ROOT / TARGET).read_text()
LOCKED = tomllib.loads(LOCK)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

EXAMPLE: dict[str, Any] = {
    "name": "a",
    "version": "1",
    "requires-python": ">=3.11",
    "dependencies": ["b>=1"],
    "optional-dependencies": {
        "x": ["C_c[d,e]>=2,<3; sys_platform == 'linux'", "f"],
        "y": ["f", "b>=1"],
    },
}


def test_the_lock_is_of_this_pyproject() -> None:
    assert LOCKED["metadata"]["content-hash"] == content_hash(PYPROJECT), "run `make lock`"
    assert LOCKED["metadata"]["python-versions"] == PROJECT["requires-python"]


def test_the_lock_has_the_versions_that_are_tested() -> None:
    assert strays(LOCK, pins()) == [], "run `make lock`"


def test_the_lock_has_the_extras_and_marks_their_packages() -> None:
    extras = extras_of(PROJECT)
    assert {name: set(packages) for name, packages in LOCKED["extras"].items()} == extras
    markers = {package["name"]: package.get("markers", "") for package in LOCKED["package"]}
    # A package may also be there for another that an extra names, so a marker may name more extras.
    unmarked = {
        (extra, name)
        for extra, names in extras.items()
        for name in names
        if extra not in re.findall(r'extra == "([\w-]+)"', markers[name])
    }
    assert unmarked == set()


def test_every_poetry_installs_the_lock_as_it_is() -> None:
    """Poetry 2.0 to 2.2 would resolve the extras again, without an end."""
    settings = tomllib.loads((ROOT / "poetry.toml").read_text())
    assert settings["installer"]["re-resolve"] is False
    assert LOCKED["metadata"]["lock-version"] == "2.1", "an older form has no markers, and is resolved again"


def test_what_every_install_needs_is_marked_by_no_extra() -> None:
    always = {package["name"] for package in LOCKED["package"] if not package["optional"]}
    assert {"pydantic", "shtab"} <= always
    assert not any("extra" in p.get("markers", "") for p in LOCKED["package"] if p["name"] in always)


def test_every_package_has_hashes_and_none_an_address() -> None:
    for package in LOCKED["package"]:
        assert package["files"], package["name"]
        assert all(each["hash"].startswith("sha256:") for each in package["files"]), package["name"]
        assert "source" not in package, package["name"]


def _changed(**project: Any) -> dict[str, Any]:
    changed = copy.deepcopy(PYPROJECT)
    changed["project"].update(project)
    return changed


@pytest.mark.parametrize(
    "change",
    [
        {"dependencies": ["pydantic>=2.12,<3"]},
        {"optional-dependencies": PROJECT["optional-dependencies"] | {"more": ["rich>=14"]}},
        {"requires-python": ">=3.12"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_pyproject_has_another_hash(change: dict[str, Any]) -> None:
    assert content_hash(_changed(**change)) != LOCKED["metadata"]["content-hash"]


def test_what_no_lock_depends_on_leaves_the_hash() -> None:
    assert content_hash(_changed(description="Other words.", version="9")) == content_hash(PYPROJECT)


@pytest.mark.parametrize(
    ("pyproject", "by_poetry"),
    [
        (
            {
                "project": {
                    "name": "a",
                    "version": "1",
                    "requires-python": ">=3.11",
                    "dependencies": ["b>=1"],
                    "optional-dependencies": {"x": ["c==2"]},
                },
                "tool": {"poetry": {"packages": [{"include": "a"}]}},
            },
            "f35204cc5c8012a2da72401f55dafd5644afa8bc570635b6affecb991422fa5a",
        ),
        (
            {
                "project": {
                    "name": "a",
                    "version": "1",
                    "requires-python": ">=3.11",
                    "dependencies": ["b>=1"],
                },
                "dependency-groups": {"dev": ["d"]},
                "tool": {
                    "poetry": {
                        "dependencies": {"b": {"source": "s"}},
                        "source": [{"name": "s"}],
                        "group": {"dev": {"optional": True}},
                    }
                },
            },
            "a45a757966f89971d6628fbba35c4f20ffb9edde57755a83df923a854e5ddeb9",
        ),
    ],
    ids=["extras", "groups"],
)
def test_the_hash_is_the_one_of_poetry(pyproject: dict[str, Any], by_poetry: str) -> None:
    """The figures are those of Poetry 2.5.1 for the same content."""
    assert content_hash(pyproject) == by_poetry


def test_each_package_stands_once_for_poetry() -> None:
    tool = tomllib.loads(plain(EXAMPLE, None))["tool"]["poetry"]
    assert tool["dependencies"] == {
        "python": ">=3.11" + poetry_lock.NOT_ON,
        "b": {"version": ">=1"},
        "c-c": {
            "version": ">=2,<3",
            "extras": ["d", "e"],
            "markers": "sys_platform == 'linux'",
            "optional": True,
        },
        "f": {"version": "*", "optional": True},
    }
    assert tool["extras"] == {"x": ["c-c", "f"], "y": ["b", "f"]}
    assert "source" not in tool
    assert tomllib.loads(plain(EXAMPLE, "https://x.example"))["tool"]["poetry"]["source"] == [
        {"name": "index", "url": "https://x.example", "priority": "primary"}
    ]


def test_extras_that_disagree_are_told() -> None:
    project = EXAMPLE | {"optional-dependencies": {"x": ["f>=1"], "y": ["f>=2"]}}
    with pytest.raises(SystemExit, match="names f in two ways"):
        plain(project, None)


def test_a_dependency_that_is_no_version_is_told() -> None:
    with pytest.raises(SystemExit, match="not read here: f @ file"):
        plain(EXAMPLE | {"dependencies": ["f @ file:x"]}, None)


def _made(version: str) -> str:
    """What Poetry writes, in short, with an index of one's own."""
    return (
        '# made by hand\n\n[[package]]\nname = "f"\n'
        f'version = "{version}"\n\n'
        '[package.source]\ntype = "legacy"\nurl = "https://x.example"\nreference = "index"\n\n'
        '[[package]]\nname = "g"\nversion = "3"\n\n[metadata]\nlock-version = "2.1"\n'
        'python-versions = ">=3.11,<4"\ncontent-hash = "0"\n'
    )


def test_a_finished_lock_is_of_the_pyproject_and_names_no_index() -> None:
    text = finished(_made("1"), {"project": EXAMPLE})
    assert "https://" not in text
    assert "make lock" in text.splitlines()[0]
    lock = tomllib.loads(text)
    assert lock["package"] == [{"name": "f", "version": "1"}, {"name": "g", "version": "3"}]
    assert lock["metadata"] == {
        "lock-version": "2.1",
        "python-versions": ">=3.11",
        "content-hash": content_hash({"project": EXAMPLE}),
    }


def test_a_seed_has_the_versions() -> None:
    lock = tomllib.loads(seed(EXAMPLE, {"f": "1", "g": "3"}))
    assert {package["name"]: package["version"] for package in lock["package"]} == {"f": "1", "g": "3"}


def test_another_version_is_a_stray() -> None:
    assert strays(_made("1"), {"f": "1", "g": "3"}) == []
    assert strays(_made("2"), {"f": "1"}) == ["f 2, tested 1", "g 3, tested never"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with a Poetry that writes what `lock.toml` beside it has; without that file it fails."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/constraints.txt").write_text("# tested\nf==1 ; python_version < '4'\nG==3\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "a"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["g"]\n[project.optional-dependencies]\nx = ["f>=1"]\n'
    )
    (tmp_path / "poetry.py").write_text(
        "import pathlib, shutil, sys\n"
        'assert sys.argv[1:] == ["lock", "--no-interaction"]\n'
        'assert \'version = "3"\' in pathlib.Path("poetry.lock").read_text()\n'
        'shutil.copy(pathlib.Path(__file__).with_name("lock.toml"), "poetry.lock")\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(poetry_lock, "ROOT", tmp_path)
    return tmp_path


def test_the_lock_is_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lock.toml").write_text(_made("1"))
    assert poetry_lock.main() == 0
    assert tomllib.loads((project / TARGET).read_text())["package"][0] == {"name": "f", "version": "1"}
    assert capsys.readouterr().out == "lock: poetry.lock\n"


def test_a_lock_of_other_versions_is_not_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lock.toml").write_text(_made("2"))
    assert poetry_lock.main() == 1
    assert "f 2, tested 1" in capsys.readouterr().err
    assert not (project / TARGET).exists()


def test_a_poetry_that_fails_is_told(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert poetry_lock.main() == 1
    assert "lock: Poetry could not lock the extras" in capfd.readouterr().err
    assert not (project / TARGET).exists()
