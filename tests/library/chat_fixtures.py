"""Chat templates of well-known forms, and a tokenizer that has the special tokens of each."""

import functools
from itertools import groupby
from pathlib import Path
from typing import Any

from speechless.data import Message, Role
from speechless.data.render import IGNORED, Tokens
from tests.library.random_model import text

FOLDER = Path(__file__).parent / "chat_templates"
BOS, EOS = "<s>", "</s>"
BAR = "\uff5c"
"""DeepSeek's special tokens have this one, twice as wide as the usual."""
DEEPSEEK_END = f"<{BAR}end▁of▁sentence{BAR}>"
TOKENS: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama2": (),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "mistral": (
        *("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
        *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    ),
    "zephyr": (),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "phi": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "deepseek": (f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>", DEEPSEEK_END, "<think>", "</think>"),
    "qwen3": ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    "granite": ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|tool_call|>"),
    "alpaca": (),
    "plain": (),
}
"""The forms by name, each with the special tokens that it has beside the beginning and the end of text."""


@functools.cache
def _trained(*, words: bool) -> str:
    """A byte-level BPE tokenizer as JSON; `words`: one with SentencePiece's blanks, as Llama 2 has."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if words:
        raw = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        raw.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special = ["<unk>", BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    else:
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        special = [BOS, EOS]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(text(3000).splitlines() + ["assistant user system\n"] * 9, trainer)
    return str(raw.to_str())


@functools.cache
def tokenizer(form: str, *, words: bool = False) -> Any:
    """A fast tokenizer with the special tokens and the template of a form; for all tests, so it stays as it is."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(words=words)), bos_token=BOS, eos_token=EOS
    )
    made.add_tokens(list(TOKENS[form]), special_tokens=True)
    made.chat_template = (FOLDER / f"{form}.jinja").read_text().removesuffix("\n")
    return made


def talk(*words: str, system: str | None = None, left_out: tuple[int, ...] = ()) -> tuple[Message, ...]:
    """Questions and answers in turn; `left_out`: numbers of the answers that are not trained, from 0."""
    turns = [
        Message(
            (Role.USER, Role.ASSISTANT)[place % 2], said, trained=not (place % 2 and place // 2 in left_out)
        )
        for place, said in enumerate(words)
    ]
    return (Message(Role.SYSTEM, system), *turns) if system else tuple(turns)


def learned(tokenizer: Any, encoded: Tokens) -> list[str]:
    """What is learned, decoded: a text for each run of tokens."""
    ids, labels = encoded
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORED) for token, label in zip(ids, labels, strict=True))
    runs = groupby(labels, key=lambda label: label != IGNORED)
    return [tokenizer.decode(list(run)) for is_learned, run in runs if is_learned]


def applied(tokenizer: Any, messages: tuple[Message, ...], tools: tuple[Any, ...] = ()) -> list[int]:
    """The ids that Transformers makes of messages."""
    ids: list[int] = tokenizer.apply_chat_template(
        [message.to_template() for message in messages],
        tools=list(tools) or None,
        tokenize=True,
        return_dict=True,
    )["input_ids"]
    return ids
