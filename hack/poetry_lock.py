"""Make poetry.lock, from which `poetry install` and `poetry install --extras train` install what is tested.

python hack/poetry_lock.py             by a Python that has Poetry (requirements/poetry.txt), as `make lock` does

`poetry lock` alone does not end on pyproject.toml: it tries every subset of the packages that several extras name. A
package that one table has once, with the list of its extras, is resolved in seconds, so Poetry gets a project that is
written in that way (`plain`), and the versions of requirements/constraints.txt to begin with. The hash that its lock
carries is then that of pyproject.toml.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = "poetry.lock"
CONSTRAINTS = "requirements/constraints.txt"
HEAD = "# The versions that are tested, for Poetry. Made by `make lock`; never edited by hand, nor by `poetry lock`.\n"
# Poetry takes a release only if it runs on every Python that the project names; pip and uv ask only about the one that
# they install for. triton, which liger-kernel names, wants a Python below 3.15, and networkx 3.6.1 leaves 3.14.1 out.
NOT_ON = ",<3.15,!=3.14.1"
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^]]*)\])?\s*(?P<version>[^;@]*?)\s*(?:;\s*(?P<marker>.*))?"
)
_SOURCE = re.compile(r'\[package\.source\]\n(?:\w+ = ".*"\n)+\n')
_METADATA = re.compile(r'(?m)^python-versions = ".*"\ncontent-hash = ".*"$')


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """The tested version of each package, from requirements/constraints.txt: of several, that of the oldest Python."""
    found: dict[str, str] = {}
    text = (ROOT / CONSTRAINTS).read_text(encoding="utf-8")
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text):
        found.setdefault(canonical(name), version)
    return found


def content_hash(pyproject: Mapping[str, Any]) -> str:
    """What Poetry compares to tell whether a lock is that of a pyproject.toml: Poetry's packages/locker.py.

    The same for all of Poetry 2; 2.0 and 2.1 leave `dependency-groups` out, which this project does not have.
    """
    parts: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
        "project": (pyproject["project"], ("requires-python", "dependencies", "optional-dependencies")),
        "poetry": (
            pyproject.get("tool", {}).get("poetry", {}),
            ("dependencies", "source", "extras", "dev-dependencies", "group"),
        ),
    }
    found = {part: {key: table[key] for key in keys if key in table} for part, (table, keys) in parts.items()}
    relevant: dict[str, Any] = {"project": found["project"], "tool": {"poetry": found["poetry"]}}
    if groups := pyproject.get("dependency-groups"):
        relevant["dependency-groups"] = groups
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def extras_of(project: Mapping[str, Any]) -> dict[str, set[str]]:
    """The packages of each extra, by their canonical names."""
    return {
        extra: {canonical(_parsed(line)["name"]) for line in lines}
        for extra, lines in project.get("optional-dependencies", {}).items()
    }


def plain(project: Mapping[str, Any], index: str | None) -> str:
    """A pyproject.toml with the same packages and extras in Poetry's own tables, each package once.

    `index`, the address of a package index, takes the place of Poetry's own if it is given. SystemExit when the same
    package is wanted in two ways.
    """
    packages: dict[str, dict[str, Any]] = {}
    optional = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    for lines, kind in ((project["dependencies"], {}), (optional, {"optional": True})):
        for line in lines:
            found = _parsed(line)
            name = canonical(found["name"])
            wanted = _constraint(found)
            # What every install needs stays so when an extra names it too.
            if packages.setdefault(name, wanted | kind) | kind != wanted | kind:
                raise SystemExit(
                    f"lock: pyproject.toml names {name} in two ways: use the same words each time"
                )
    tables = [
        "[project]",
        f"name = {json.dumps(project['name'])}",
        f"version = {json.dumps(project['version'])}",
        "[tool.poetry]",
        "package-mode = false",
        "[tool.poetry.dependencies]",
        f"python = {json.dumps(project['requires-python'] + NOT_ON)}",
        *(f"{json.dumps(name)} = {_inline(value)}" for name, value in packages.items()),
        "[tool.poetry.extras]",
        *(f"{extra} = {json.dumps(sorted(names))}" for extra, names in extras_of(project).items()),
    ]
    if index:
        tables += [
            "[[tool.poetry.source]]",
            'name = "index"',
            f"url = {json.dumps(index)}",
            'priority = "primary"',
        ]
    return "\n".join(tables) + "\n"


def seed(project: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """A lock that says no more than versions: Poetry keeps what a lock has as long as the ranges allow it."""
    tables = [
        f'[[package]]\nname = "{name}"\nversion = "{version}"\noptional = true\npython-versions = "*"\n'
        'groups = ["main"]\nfiles = []\n'
        for name, version in versions.items()
    ]
    return (
        "\n".join(tables)
        + f'\n[metadata]\nlock-version = "2.1"\npython-versions = "{project["requires-python"]}"\ncontent-hash = ""\n'
    )


def finished(lock: str, pyproject: Mapping[str, Any]) -> str:
    """The lock as it is committed: for pyproject.toml, and without the address of an index."""
    body = _SOURCE.sub("", lock.partition("\n")[2])
    pythons = pyproject["project"]["requires-python"]
    return HEAD + _METADATA.sub(
        f'python-versions = "{pythons}"\ncontent-hash = "{content_hash(pyproject)}"', body
    )


def strays(lock: str, versions: Mapping[str, str]) -> list[str]:
    """The packages of a lock whose version is not the tested one."""
    return [
        f"{package['name']} {package['version']}, tested {versions.get(canonical(package['name']), 'never')}"
        for package in tomllib.loads(lock)["package"]
        if versions.get(canonical(package["name"])) != package["version"]
    ]


def main() -> int:
    """Write poetry.lock and return the exit status."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    versions = pins()
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pyproject.toml").write_text(plain(pyproject["project"], index), encoding="utf-8")
        (folder / TARGET).write_text(seed(pyproject["project"], versions), encoding="utf-8")
        # Nothing is installed, so Poetry needs no environment of its own.
        environment = {**os.environ, "POETRY_VIRTUALENVS_CREATE": "false"}
        done = subprocess.run(
            [sys.executable, "-m", "poetry", "lock", "--no-interaction"],
            cwd=folder,
            env=environment,
            check=False,
        )
        if done.returncode:
            print(
                "lock: Poetry could not lock the extras: the lines above say why. An index that has no JSON for Poetry "
                "is named in UV_DEFAULT_INDEX or PIP_INDEX_URL",
                file=sys.stderr,
            )
            return 1
        lock = finished((folder / TARGET).read_text(encoding="utf-8"), pyproject)
    if others := strays(lock, versions):
        print(f"lock: Poetry chose other versions than {CONSTRAINTS}: {'; '.join(others)}", file=sys.stderr)
        return 1
    (ROOT / TARGET).write_text(lock, encoding="utf-8")
    print(f"lock: {TARGET}")
    return 0


def _parsed(requirement: str) -> dict[str, str]:
    found = _REQUIREMENT.fullmatch(requirement.strip())
    if not found:
        raise SystemExit(f"lock: pyproject.toml has a dependency that is not read here: {requirement}")
    return {key: value or "" for key, value in found.groupdict().items()}


def _constraint(found: Mapping[str, str]) -> dict[str, Any]:
    constraint: dict[str, Any] = {"version": found["version"] or "*"}
    if found["extras"]:
        constraint["extras"] = sorted(each.strip() for each in found["extras"].split(","))
    if found["marker"]:
        constraint["markers"] = found["marker"]
    return constraint


def _inline(table: Mapping[str, Any]) -> str:
    """A table of TOML in one line; JSON writes strings, lists of strings and booleans as TOML does."""
    return f"{{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in table.items())} }}"


if __name__ == "__main__":
    raise SystemExit(main())
