"""Models of real shapes with random weights, made on the spot: for speed and memory, not for quality.

`python -m benchmarks.train.shapes 7b FOLDER`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

SHAPES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        # TinyLlama-1.1B and Mistral-7B-v0.2, by their config.json
        "1b": {
            "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
            "num_key_value_heads": 4, "max_position_embeddings": 2048,
        },
        "7b": {
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "max_position_embeddings": 32768,
        },
    }
)  # fmt: skip
VOCABULARY = 32000


def make(folder: Path, shape: str) -> Path:
    """Write a Llama of 1.1 or 7.2 billion parameters in bfloat16 into a folder, which is returned.

    The tokenizer is that of the project's tiny model: of the vocabulary it uses the first part.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from speechless.tiny import tokenizer

    tokenizer.build(1).save_pretrained(folder)
    torch.manual_seed(1)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM._from_config(
            LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=False, **SHAPES[shape]),
            dtype=torch.bfloat16,
        )
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    command = argparse.ArgumentParser(prog="python -m benchmarks.train.shapes", description=__doc__)
    command.add_argument("shape", choices=SHAPES)
    command.add_argument("folder", type=Path)
    asked = command.parse_args()
    make(asked.folder, asked.shape)
    sys.exit(0)
