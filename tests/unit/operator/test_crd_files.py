"""What is committed is what the models say, and the models say what the stages take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from speechless import contract
from speechless_operator.api import KINDS, evaluation, finetune, quantization
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
    ("api", "stage"),
    [
        (finetune.Hyperparameters, contract.Hyperparameters),
        (finetune.Lora, contract.Lora),
        (finetune.Checkpoints, contract.Checkpoints),
        (finetune.Dataset, contract.DatasetSource),
        (evaluation.Suite, contract.Suite),
        (quantization.Verify, contract.Verify),
    ],
)
def test_a_resource_offers_what_its_stage_takes(api: type, stage: type) -> None:
    assert set(api.model_fields) == set(stage.model_fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("api", [finetune.Hyperparameters, finetune.Lora, finetune.Checkpoints])
def test_their_defaults_agree(api: type) -> None:
    stage = getattr(contract, api.__name__)
    ours = api().model_dump(mode="json")
    assert ours == stage().model_dump(mode="json")


def test_every_failure_of_a_stage_is_a_reason() -> None:
    assert {reason.value for reason in contract.FailureReason} <= {reason.value for reason in Reason}


def test_every_reason_is_documented() -> None:
    page = pages()["reasons.md"]
    assert [reason for reason in Reason if f"| `{reason.value}` | " not in page] == []


def test_every_kind_has_a_page() -> None:
    assert set(pages()) == {*(f"{kind.singular}.md" for kind in KINDS.values()), "reasons.md"}
