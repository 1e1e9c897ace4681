"""Whether a model has a table of positions: told by the names of its weights, or by its type where it has none."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from speechless.models import positions_are_a_table


def folder(place: Path, model_type: str, weight: str | None = None) -> Path:
    (place / "config.json").write_text(json.dumps({"model_type": model_type}))
    if weight:
        header = json.dumps({weight: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        (place / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return place


@pytest.mark.parametrize(
    ("model_type", "weight", "told"),
    [
        ("gpt2", "transformer.wpe.weight", True),
        ("gpt2", "wpe.weight", True),
        ("opt", "model.decoder.embed_positions.weight", True),
        ("openai-gpt", "transformer.positions_embed.weight", True),
        ("of-tomorrow", "x.position_embeddings.weight", True),
        ("llava", "vision_tower.vision_model.embeddings.position_embeddings.weight", False),
        ("of-tomorrow", "audio_tower.embed_positions.weight", False),
        ("llama", "model.embed_tokens.weight", False),
        ("gpt2", None, True),
        ("llama", None, False),
    ],
)
def test_a_table_is_told(model_type: str, weight: str | None, told: bool, tmp_path: Path) -> None:
    assert positions_are_a_table(folder(tmp_path, model_type, weight)) is told
