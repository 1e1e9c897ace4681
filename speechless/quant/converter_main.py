"""The process that runs llama.cpp's converter: `converter_main.py LLAMA_SOURCE MODEL OUTFILE OUTTYPE`.

The converter knows a byte-level BPE tokenizer by a hash of how it splits one text, from a list of published models. A
tokenizer of one's own is not in that list even if it splits text by a published rule. For Qwen2's rule that is looked
up in the tokenizer itself, and llama.cpp is told that it is Qwen2's.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

QWEN2_RULES = frozenset(
    {
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)
"""The regular expression of the pre-tokenizer in Qwen2's tokenizer.json."""


def is_qwen2(pre_tokenizer: Any) -> bool:
    """Whether the pre-tokenizer (of tokenizer.json) splits text by Qwen2's rule, and by nothing else."""
    if not isinstance(pre_tokenizer, dict) or pre_tokenizer.get("type") != "Sequence":
        return False
    match pre_tokenizer.get("pretokenizers"):
        case [
            {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return rule in QWEN2_RULES
    return False


def main(source: str, model: str, outfile: str, outtype: str) -> None:
    """Run the converter on a model; `outtype` is one of its own: f16, q8_0."""
    sys.path[:0] = [source, str(Path(source) / "gguf-py")]
    base = importlib.import_module("conversion.base")
    known = base.TextModel.get_vocab_base_pre

    def get_vocab_base_pre(self: Any, tokenizer: Any) -> str:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is not None and is_qwen2(json.loads(backend.to_str()).get("pre_tokenizer")):
            return "qwen2"
        name: str = known(self, tokenizer)
        return name

    base.TextModel.get_vocab_base_pre = get_vocab_base_pre
    sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", outfile, "--outtype", outtype]
    importlib.import_module("convert_hf_to_gguf").main()


if __name__ == "__main__":
    main(*sys.argv[1:])
