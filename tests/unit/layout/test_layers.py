"""The layers of .importlinter hold for packages that are not here yet: each rule is broken once, in a copy."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from speechless.contract import StageName
from tests.unit.layout.repository import ROOT

LINTER = Path(sys.prefix) / "bin" / "lint-imports"


def lint(folder: Path, modules: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the import linter on both packages, empty but for the given modules (path -> source), by our rules."""
    stages = [f"speechless/stage/{stage}.py" for stage in StageName]  # a rule names them: they must be there
    for path in ("speechless/__init__.py", "speechless_operator/__init__.py", *stages, *modules):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(modules.get(path, ""))
    shutil.copy(ROOT / ".importlinter", folder)
    return subprocess.run(
        [LINTER, "--no-cache", "--no-logo"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("modules", "rule"),
    [
        ({"speechless_operator/plan/finetune.py": "import os.path"}, "operator-pure"),
        (
            {"speechless_operator/plan/finetune.py": "def f():\n    from time import monotonic"},
            "operator-pure",
        ),
        ({"speechless_operator/desired/job.py": "from kubernetes import client"}, "operator-pure"),
        ({"speechless_operator/api/finetune.py": "import kopf"}, "operator-pure"),
        ({"speechless_operator/crd/render.py": "import random"}, "operator-pure"),
        (
            {
                "speechless_operator/runtime/queue.py": "import os",
                "speechless_operator/plan/x.py": "import speechless_operator.runtime.queue",
            },
            "operator-layers",
        ),
        ({"speechless_operator/extra/x.py": ""}, "operator-layers"),
        (
            {
                "speechless/store/file.py": "",
                "speechless_operator/runtime/x.py": "import speechless.store.file",
            },
            "operator-library",
        ),
        ({"speechless_operator/main.py": "from speechless import __version__"}, "operator-library"),
        (
            {"speechless/eval/x.py": "", "speechless/finetune/x.py": "import speechless.eval.x"},
            "library-layers",
        ),
        (
            {"speechless/store/x.py": "", "speechless/contract/x.py": "import speechless.store.x"},
            "library-layers",
        ),
        ({"speechless/extra/x.py": ""}, "library-layers"),
    ],
)
def test_a_broken_rule_is_caught(tmp_path: Path, modules: dict[str, str], rule: str) -> None:
    answer = lint(tmp_path, modules)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    assert f"{rules[f'importlinter:contract:{rule}']['name']} BROKEN" in " ".join(answer.stdout.split())


def test_what_is_allowed_passes(tmp_path: Path) -> None:
    answer = lint(
        tmp_path,
        {
            "speechless/contract/spec.py": "import pydantic",
            "speechless/store/file.py": "import os\nimport speechless.contract.spec",
            "speechless/stage/finetune.py": "import speechless.finetune.run",
            "speechless/finetune/run.py": "import speechless.store.file\nimport speechless.data.read",
            "speechless/data/read.py": "",
            "speechless_operator/api/finetune.py": "import pydantic\nimport speechless.contract.spec",
            "speechless_operator/plan/finetune.py": "import datetime\nimport speechless_operator.desired.job",
            "speechless_operator/desired/job.py": "import speechless_operator.api.finetune",
            "speechless_operator/runtime/source.py": "import kopf, os, time\nimport speechless_operator.plan.finetune",
        },
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def foreign_imports(source: str, own: str) -> set[str]:
    """The imports of a module of the package `own` that are neither its own, nor pydantic, nor the standard library."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {
        name
        for name in found
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "pydantic"}
        and not f"{name}.".startswith(f"{own}.")
    }


def test_the_contract_imports_pydantic_and_the_standard_library_only() -> None:
    modules = (ROOT / "speechless" / "contract").rglob("*.py")
    found = {module.name: foreign_imports(module.read_text(), "speechless.contract") for module in modules}
    assert {name: names for name, names in found.items() if names} == {}


def test_a_foreign_import_is_caught() -> None:
    good = "import os\nfrom pydantic import BaseModel\nfrom . import x\nimport speechless.contract.z\n"
    source = good + "import json, yaml\nfrom speechless.store import y\n"
    assert foreign_imports(good, "speechless.contract") == set()
    assert foreign_imports(source, "speechless.contract") == {"yaml", "speechless.store"}


def unnamed_stages(config: str, stages: Iterable[str]) -> set[str]:
    """The stages (as the contract names them) that no rule of an .importlinter keeps apart from each other."""
    named = set(re.findall(r"speechless\.stage\.(\w+|\*)", config))
    return set() if "*" in named else set(stages) - named


def test_every_stage_is_kept_apart() -> None:
    stages = {stage.value for stage in StageName}
    assert all((ROOT / "speechless" / "stage" / f"{stage}.py").is_file() for stage in stages)
    assert unnamed_stages((ROOT / ".importlinter").read_text(), stages) == set()


def test_a_stage_that_no_rule_names_is_caught() -> None:
    assert unnamed_stages("modules =\n    speechless.stage.fetch\n", ["fetch", "serve"]) == {"serve"}
