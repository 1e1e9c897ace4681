"""What is committed is what the models say, and the models say what the stages take."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from speechless import contract
from speechless_operator.api import (
    KINDS,
    EvaluationSpec,
    FineTuneSpec,
    InferenceServiceSpec,
    QuantizationSpec,
    evaluation,
    finetune,
    quantization,
)
from speechless_operator.api.reasons import Reason
from speechless_operator.crd.__main__ import CRDS, main, stale
from speechless_operator.crd.reference import pages
from tests.unit.layout.repository import ROOT


def test_the_committed_files_are_fresh() -> None:
    assert stale(ROOT) == [], "run: python -m speechless_operator.crd"


def test_a_stale_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    file = tmp_path / CRDS / "finetunes.speechless.dev.yaml"
    file.write_text(file.read_text().replace("LoRA", "Lora", 1))
    shutil.copy(file, file.with_name("old.yaml"))
    (tmp_path / CRDS / "evaluations.speechless.dev.yaml").unlink()

    assert main(["--root", str(tmp_path), "--check"]) == 1

    said = capsys.readouterr().err
    assert "finetunes.speechless.dev.yaml: differs" in said
    assert "evaluations.speechless.dev.yaml: missing" in said
    assert "old.yaml: no kind makes it" in said
    assert "run: python -m speechless_operator.crd" in said


@pytest.mark.parametrize(
    ("spec", "shared"),
    [
        (FineTuneSpec, contract.FineTuneSettings),
        (EvaluationSpec, contract.EvaluateSettings),
        (QuantizationSpec, contract.QuantizeSettings),
        (InferenceServiceSpec, contract.ServeSettings),
        (finetune.Dataset, contract.DatasetSource),
        (evaluation.Suite, contract.SuiteOptions),
        (quantization.Verify, contract.Verify),
    ],
)
def test_a_setting_is_declared_in_the_contract_and_nowhere_else(
    spec: type[BaseModel], shared: type[BaseModel]
) -> None:
    again = {name for base in spec.__mro__ for name in getattr(base, "__annotations__", {}) if is_ours(base)}
    assert set(shared.model_fields) <= set(spec.model_fields)
    assert again & set(shared.model_fields) <= NARROWED


NARROWED = {"engine", "uri", "text"}
"""Said again in the API, as Kubernetes takes less: the engines that are offered, the schemes with a rule."""


def is_ours(base: type) -> bool:
    """Whether a class is the API's own, and not one that is made from the contract's."""
    return base.__module__.startswith("speechless_operator.api.") and base.__name__ != "SuiteOptions"


def test_every_failure_of_a_stage_is_a_reason() -> None:
    assert {reason.value for reason in contract.FailureReason} <= {reason.value for reason in Reason}


def test_every_reason_is_documented() -> None:
    page = pages()["reasons.md"]
    assert [reason for reason in Reason if f"| `{reason.value}` | " not in page] == []


def test_a_reason_to_act_says_what_to_do() -> None:
    silent = re.findall(r"^\| `(\w+)` \| [^|]+ \|  \|$", pages()["reasons.md"], re.MULTILINE)
    fine = {
        "Starting",
        "Running",
        "Finishing",
        "RunAgain",
        "Succeeded",
        "Reused",
        "Available",
        "ScaledToZero",
    }
    assert set(silent) == fine | {"RollingOut", "Resolved", "Pinned", "GatesPassed"}


def test_every_kind_has_a_page() -> None:
    assert set(pages()) == {*(f"{kind.singular}.md" for kind in KINDS.values()), "reasons.md"}
