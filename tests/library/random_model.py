"""A small Llama with random weights and its own tokenizer, made on the spot: for plumbing, not for quality."""

import random
from pathlib import Path

QWEN2_RULE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = (
    "def",
    "return",
    "for",
    "if",
    "x",
    "list",
    "sum",
    "max",
    "sorted",
    "len",
    "of",
    "the",
    "numbers",
    "not",
)


def text(words: int, seed: int = 0) -> str:
    """Lines that look a little like code."""
    chance = random.Random(seed)
    lines = []
    while words > 0:
        line = chance.choices(WORDS, k=chance.randint(2, 9))
        words -= len(line)
        lines.append("    " * chance.randint(0, 2) + " ".join(line) + chance.choice(["", ":", " 1", "(2)"]))
    return "\n".join(lines) + "\n"


def make(folder: Path, *, hidden: int = 256, seed: int = 1, vocabulary: int = 0) -> Path:
    """Write a model of 2 layers and 256 positions into a folder, which is returned.

    The tokenizer knows at most 400 tokens; `vocabulary`: rows of the embeddings, if they are more.
    """
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_RULE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    raw.train_from_iterator(
        [text(4000)],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=max(vocabulary, len(tokenizer)),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # Far apart logits: with the usual 0.02 all tokens are nearly as likely, and rounding picks the next one.
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
