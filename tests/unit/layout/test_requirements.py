"""Locked requirements: every package with its hashes, no address of an index, nothing of the machine that made them."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.unit.layout.repository import ROOT, files

LOCKS = [
    path
    for path in files()
    if path.suffix == ".txt" and path.parent.name == "requirements" and path.name != "constraints.txt"
]
# Locks outside requirements/ are told by their content; they may be kept by hand.
PINNED = [path for path in files() if path.suffix == ".txt" and "--hash=" in (ROOT / path).read_text()]


def problems(lock: str) -> list[str]:
    """What is wrong with a lock: a package without a hash or an exact version, an option, an address."""
    joined = lock.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        if requirement.startswith("-"):
            found.append(f"option: {requirement}")
        elif not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", requirement):
            found.append(f"not pinned: {requirement[:60]}")
        elif "--hash=sha256:" not in requirement:
            found.append(f"no hash: {requirement[:60]}")
    found += [f"address: {word}" for word in re.findall(r"\S*://\S*", lock)]
    return found


def test_there_are_locks() -> None:
    assert {Path("requirements/dev.txt"), Path("requirements/uv.txt")} <= set(LOCKS)


@pytest.mark.parametrize("lock", sorted({*LOCKS, *PINNED}), ids=str)
def test_a_lock_is_whole(lock: Path) -> None:
    assert problems((ROOT / lock).read_text()) == []


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_a_lock_says_how_it_is_made(lock: Path) -> None:
    header = [line for line in (ROOT / lock).read_text().splitlines()[:3] if line.startswith("#")]
    assert any("make lock" in line for line in header)
    assert not any("/" in line for line in header), "the header names a path"


def test_constraints_are_those_of_the_locks() -> None:
    from constraints import TARGET, constraints

    text = (ROOT / TARGET).read_text()
    assert text == constraints(), "run `make lock`"
    pinned = {re.split(r"==", line)[0] for line in text.splitlines() if "==" in line}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *declared["dependencies"],
        *(w for each in declared["optional-dependencies"].values() for w in each),
    ]
    names = {re.split(r"[\[<>=~ ]", word)[0].lower().replace("_", "-") for word in wanted} - {
        "speechless-llm"
    }
    assert names <= pinned, "an extra's package that no lock has"
    # A package that differs from one Python to another has a line for each: no Python is left without one.
    lock = (ROOT / "requirements" / "library.txt").read_text()
    for line in re.findall(r"(?m)^\S+==\S+ ; python_full_version[^\\]+", lock):
        assert line.strip() in text.splitlines()


def test_uv_has_one_version() -> None:
    pinned = [
        re.search(r"(?m)^uv==\S+", (ROOT / "requirements" / name).read_text())
        for name in ("uv.txt", "dev.txt")
    ]
    assert len({match[0] for match in pinned if match}) == 1


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        ("torch==2.13.0\n", "no hash: torch==2.13.0"),
        ("torch>=2 --hash=sha256:aa\n", "not pinned: torch>=2 --hash=sha256:aa"),
        ("--pre\n", "option: --pre"),
        ("a @ https://x.org/a.whl --hash=sha256:aa\n", "address: https://x.org/a.whl"),
    ],
)
def test_a_bad_lock_is_caught(lock: str, problem: str) -> None:
    assert problem in problems(lock)


def test_a_good_lock_is_not() -> None:
    assert (
        problems(
            "# made\na[b]==1 ; python_version < '3.12' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via c\n"
        )
        == []
    )
