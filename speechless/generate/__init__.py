"""Generate text: one small interface over Transformers, llama.cpp and any OpenAI-compatible endpoint.

`open_generator(model)` looks at a model's files and returns the back end for them:

    with open_generator(Path("model")) as generator:
        [answer] = generator.complete(["def add(a, b):"], Sampling(max_tokens=32))
"""

from speechless.generate.base import Completion, Generator, Message, Sampling
from speechless.generate.files import ModelFiles, ModelKind, check_files, find_model
from speechless.generate.open import open_generator

__all__ = [
    "Completion",
    "Generator",
    "Message",
    "ModelFiles",
    "ModelKind",
    "Sampling",
    "check_files",
    "find_model",
    "open_generator",
]
