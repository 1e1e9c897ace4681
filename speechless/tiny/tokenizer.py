"""A byte-level BPE of 512 tokens for the tiny model.

Its pre-tokenizer is that of Qwen2, which llama.cpp knows by name, so that both give the same tokens. It ends a token at
a newline; one that merged the newline with the indent after it would make every HumanEval prompt end inside a token,
and the model would answer with an empty body.
"""

import random
from typing import Any

from speechless.tiny.tasks import SEEN, name_of, prompt, sample
from speechless.tiny.text import document

VOCABULARY = 512
PAD, BOS, EOS = "<pad>", "<s>", "</s>"

# Qwen2's pattern (tokenizer.json of Qwen/Qwen2-7B; "qwen2" in llama.cpp).
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# A turn is its words alone, so that a function's head as a user's message gets the same answer as the same prompt.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
)


def build(seed: int) -> Any:
    """Train the tokenizer on what the base model will read and on prompts; a `PreTrainedTokenizerFast`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(f"tokenizer {seed}")
    texts = [document(rng) for _ in range(8000)]
    for _ in range(3000):
        task = sample(rng, SEEN)
        texts.append(prompt(task, name_of(task, rng)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
