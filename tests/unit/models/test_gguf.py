"""The header of a GGUF file."""

import struct
from pathlib import Path

import pytest

from speechless.errors import StageError
from speechless.models.gguf import Tensor, read_header
from tests.support.gguf import write_gguf


def test_a_header_is_read(tmp_path: Path) -> None:
    file = write_gguf(
        tmp_path / "m.gguf",
        [("token_embd.weight", (256, 400), "Q6_K"), ("norm.weight", (256,), "F32"), ("a", (256, 8), "Q6_K")],
        {"general.name": "é", "tokenizer.ggml.tokens": ["<s>", "a"]},
    )
    header = read_header(file)
    assert header.metadata["general.name"] == "é"
    assert header.metadata["tokenizer.ggml.tokens"] == ["<s>", "a"]
    assert header.context_length == 256
    assert header.tensors[0] == Tensor("token_embd.weight", (256, 400), "Q6_K")
    assert header.types() == {"F32": 1, "Q6_K": 2}


def test_no_context_length(tmp_path: Path) -> None:
    assert (
        read_header(write_gguf(tmp_path / "m", metadata={"llama.context_length": 0})).context_length is None
    )


@pytest.mark.parametrize("size", [0, 3, 4, 10, 40, 60])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, size: int) -> None:
    file = write_gguf(tmp_path / "m.gguf", [("a", (8, 8), "F16")])
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(StageError, match="not a whole GGUF file"):
        read_header(file)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(StageError, match="it begins with"):
        read_header(tmp_path / "m.gguf")


def test_an_absurd_length_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf")
    raw = bytearray(file.read_bytes())
    raw[24:32] = b"\xff" * 8
    file.write_bytes(raw)
    with pytest.raises(StageError, match="a text of"):
        read_header(file)


@pytest.mark.parametrize("item", [0, 4, 8, 9, 12])
def test_a_list_that_is_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path, item: int) -> None:
    file = write_gguf(tmp_path / "m.gguf", metadata={"a": ["b"]})
    raw = file.read_bytes()
    place = raw.index(struct.pack("<IIQ", 9, 8, 1))
    for count in (1 << 60, (1 << 30) - 1):
        file.write_bytes(raw[:place] + struct.pack("<IIQ", 9, item, count) + raw[place + 16 :])
        with pytest.raises(StageError, match="a list of"):
            read_header(file)


def test_lists_in_lists_have_an_end(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", metadata={"a": ["b"]})
    raw = file.read_bytes()
    place = raw.index(struct.pack("<IIQ", 9, 8, 1)) + 4
    file.write_bytes(raw[:place] + struct.pack("<IQ", 9, 1) * 100_000)
    with pytest.raises(StageError, match="a list of"):
        read_header(file)


def test_a_tensor_of_too_many_dimensions_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", [("tensor", (8, 8), "F16")])
    raw = bytearray(file.read_bytes())
    place = raw.index(b"tensor") + 6
    raw[place : place + 4] = b"\xff" * 4
    file.write_bytes(raw)
    with pytest.raises(StageError, match="dimensions"):
        read_header(file)
