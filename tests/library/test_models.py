"""Model folders that a training is given: what cannot be trained is told before a step is made."""

import json
import shutil
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.models import load_model

pytest_plugins = ("tests.library.model_fixtures",)


@pytest.mark.parametrize("part", ["", "text_config"], ids=["top", "part"])
def test_a_base_that_is_quantized_already_is_refused(model: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "awq"))
    file = folder / "config.json"
    config = json.loads(file.read_text())
    (config.setdefault(part, {}) if part else config)["quantization_config"] = {
        "quant_method": "awq",
        "bits": 4,
    }
    file.write_text(json.dumps(config))
    with pytest.raises(StageError, match=r"awq: its weights are quantized already \(awq\)") as caught:
        load_model(folder)
    assert caught.value.reason is FailureReason.MODEL_INVALID
