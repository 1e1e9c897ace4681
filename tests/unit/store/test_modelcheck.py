"""Whether a model fits: by its manifest if that says it, else by its files."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import Format, Manifest, ModelInfo, Objective, QuantizationInfo
from speechless.contract.engines import ENGINES
from speechless.contract.needs import EVALUATING, QUANTIZING, TRAINING, Need, need_of, serving_problem
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.spec import parse_spec
from speechless.errors import StageError
from speechless.store.modelcheck import check_model, described
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ, write_adapter, write_model

EMPTY = "sha256:" + "0" * 64
SFT = TRAINING[Objective.SFT]
NEEDS = (SFT, QUANTIZING, EVALUATING)


def manifest(form: Format, model: ModelInfo | None = None) -> Manifest:
    return Manifest(format=form, digest=EMPTY, files=(), model=model)


def test_a_model_that_fits_is_known_then(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    for need in NEEDS:
        info = check_model(folder, "m", need.problem_of)
        assert info
        assert info.architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("need", NEEDS)
def test_a_quantized_folder_does_not(tmp_path: Path, need: Need) -> None:
    folder = write_model(tmp_path / "m", quantization_config=dict(AWQ), card="---\nbase_model: a/b\n---\n")
    with pytest.raises(StageError) as caught:
        check_model(folder, "hf://a/b-AWQ", need.problem_of)
    words = "bfloat16, float16 or float32"
    assert caught.value.message == (
        f"hf://a/b-AWQ: its weights are quantized already (awq, 4 bits), {need.work} weights as {words}"
    )
    assert caught.value.hint == f"take the model that it was made from, a/b: one with weights as {words}"


def test_what_the_manifest_says_is_not_read_again(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    told = ModelInfo(quantization=QuantizationInfo(method="gptq"))
    with pytest.raises(StageError, match="gptq"):
        check_model(folder, "m", SFT.problem_of, manifest=manifest(Format.HUGGING_FACE, told))


def test_an_artifact_without_it_is_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", quantization_config=dict(AWQ))
    with pytest.raises(StageError, match="awq"):
        check_model(folder, "m", SFT.problem_of, manifest=manifest(Format.HUGGING_FACE))


def test_a_format_that_does_not_fit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("weights")
    with pytest.raises(StageError, match="its format is GGUF, training takes HuggingFace"):
        check_model(tmp_path, "m", SFT.problem_of)
    with pytest.raises(StageError, match="not a whole GGUF file"):
        check_model(tmp_path, "m", QUANTIZING.problem_of)


def test_an_adapter_is_no_whole_model(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    lora = write_gguf(tmp_path / "l.gguf", metadata={"general.type": "adapter", "adapter.type": "lora"})
    for need in NEEDS:
        with pytest.raises(StageError, match="its format is Adapter") as caught:
            check_model(folder, "m", need.problem_of)
        assert "merge" in caught.value.hint
    with pytest.raises(StageError, match=r"it is an adapter \(LORA\), evaluating takes whole models"):
        check_model(lora, "m", EVALUATING.problem_of)


def test_a_gguf_file_of_floats_may_be_quantized_and_a_quantized_one_scored(tmp_path: Path) -> None:
    floats = write_gguf(tmp_path / "f.gguf", [("a", (64, 64), "F16")])
    rounded = write_gguf(tmp_path / "r.gguf", [("a", (64, 64), "Q8_0")])
    assert check_model(floats, "m", QUANTIZING.problem_of)
    assert check_model(rounded, "m", EVALUATING.problem_of)
    with pytest.raises(StageError, match=r"quantized already \(gguf, Q8_0\), quantizing takes"):
        check_model(rounded, "m", QUANTIZING.problem_of)


def test_rows_longer_than_the_model_was_trained_for_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_model(tmp_path / "m")
    with caplog.at_level(logging.WARNING):
        check_model(folder, "m", SFT.problem_of, tokens=2048)
        assert caplog.text == ""
        check_model(folder, "m", SFT.problem_of, tokens=2049)
    assert "m was trained for rows of 2048 tokens; of longer ones, up to 2049" in caplog.text


def test_a_path_that_is_not_there_is_left_to_who_reads_it(tmp_path: Path) -> None:
    assert check_model(tmp_path / "m", "m", SFT.problem_of) is None


def test_what_is_published_need_not_be_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text("?")
    assert described(tmp_path, Format.HUGGING_FACE) is None
    assert "no JSON" in caplog.text
    assert described(tmp_path, Format.DATASET) is None


def test_every_stage_with_a_model_says_what_it_takes() -> None:
    told = {"model": {"uri": "pvc://a/m"}, "output": "pvc://a/b"}
    suite = {"name": "x", "type": "Perplexity", "data": {"uri": "pvc://a/d"}}
    for objective, row in OBJECTIVES.items():
        rows = {"uri": "pvc://a/d"}
        spec = parse_spec(json.dumps({**told, "stage": "finetune", "objective": objective, "dataset": rows}))
        assert need_of(spec) is TRAINING[objective]  # type: ignore[arg-type]
        assert TRAINING[objective].heads == row.starts_from
    spec = parse_spec(json.dumps({**told, "stage": "quantize", "type": "Q8_0"}))
    assert need_of(spec) is QUANTIZING  # type: ignore[arg-type]
    spec = parse_spec(json.dumps({**told, "stage": "evaluate", "suites": [suite]}))
    assert need_of(spec) is EVALUATING  # type: ignore[arg-type]


JUDGE = {"architectures": ["LlamaForSequenceClassification"]}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"id2label": {"0": "LABEL_0"}}, "reward model, LlamaForSequenceClassification"),
        ({}, "classifier, LlamaForSequenceClassification"),
    ],
)
def test_what_judges_texts_is_no_model_that_writes(tmp_path: Path, more: dict[str, Any], kind: str) -> None:
    folder = write_model(tmp_path / "m", card="---\nbase_model: a/b\n---\n", **JUDGE, **more)
    serving = [
        partial(serving_problem, row) for row in ENGINES.values() if Format.HUGGING_FACE in row.formats
    ]
    assert serving
    for judge in (*(need.problem_of for need in NEEDS), *serving):
        with pytest.raises(StageError) as caught:
            check_model(folder, "m", judge)
        assert f"m: it is no model that writes ({kind}), " in caught.value.message
        assert caught.value.message.endswith(" language models")
        assert caught.value.hint == "take the language model that it was made from, a/b"


def test_a_manifest_of_an_earlier_version_still_tells_a_reward_model(tmp_path: Path) -> None:
    told = ModelInfo(architecture="MistralForSequenceClassification")
    folder = write_model(tmp_path / "m")
    with pytest.raises(StageError, match="no model that writes"):
        check_model(folder, "m", EVALUATING.problem_of, manifest=manifest(Format.HUGGING_FACE, told))
