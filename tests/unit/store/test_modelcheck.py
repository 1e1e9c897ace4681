"""Whether a model fits: by its manifest if that says it, else by its files."""

import logging
from pathlib import Path

import pytest

from speechless.contract import Format, Manifest, ModelInfo, QuantizationInfo, StageName
from speechless.contract.needs import EVALUATING, NEEDS, QUANTIZING, TRAINING, Need
from speechless.errors import StageError
from speechless.store.modelcheck import check_model, described
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ, write_adapter, write_model

EMPTY = "sha256:" + "0" * 64


def manifest(form: Format, model: ModelInfo | None = None) -> Manifest:
    return Manifest(format=form, digest=EMPTY, files=(), model=model)


def test_a_model_that_fits_is_known_then(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    for need in NEEDS.values():
        info = check_model(folder, "m", need.problem_of)
        assert info
        assert info.architecture == "LlamaForCausalLM"


@pytest.mark.parametrize("need", [TRAINING, QUANTIZING, EVALUATING])
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
        check_model(folder, "m", TRAINING.problem_of, manifest=manifest(Format.HUGGING_FACE, told))


def test_an_artifact_without_it_is_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", quantization_config=dict(AWQ))
    with pytest.raises(StageError, match="awq"):
        check_model(folder, "m", TRAINING.problem_of, manifest=manifest(Format.HUGGING_FACE))


def test_a_format_that_does_not_fit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("weights")
    with pytest.raises(StageError, match="its format is GGUF, training takes HuggingFace"):
        check_model(tmp_path, "m", TRAINING.problem_of)
    with pytest.raises(StageError, match="not a whole GGUF file"):
        check_model(tmp_path, "m", QUANTIZING.problem_of)


def test_an_adapter_is_no_whole_model(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    lora = write_gguf(tmp_path / "l.gguf", metadata={"general.type": "adapter", "adapter.type": "lora"})
    for need in (TRAINING, QUANTIZING, EVALUATING):
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
        check_model(folder, "m", TRAINING.problem_of, tokens=2048)
        assert caplog.text == ""
        check_model(folder, "m", TRAINING.problem_of, tokens=2049)
    assert "m was trained for rows of 2048 tokens; of longer ones, up to 2049" in caplog.text


def test_a_path_that_is_not_there_is_left_to_who_reads_it(tmp_path: Path) -> None:
    assert check_model(tmp_path / "m", "m", TRAINING.problem_of) is None


def test_what_is_published_need_not_be_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text("?")
    assert described(tmp_path, Format.HUGGING_FACE) is None
    assert "no JSON" in caplog.text
    assert described(tmp_path, Format.DATASET) is None


def test_every_stage_with_a_model_says_what_it_takes() -> None:
    assert set(NEEDS) == {StageName.FINETUNE, StageName.QUANTIZE, StageName.EVALUATE}
