"""A process that makes numbers of rows: chunks of examples come in on its standard input, Arrow goes out.

`rows.py` starts several of them. Both ends are the same version of this program, so what goes between them is pickled.
"""

import os
import pickle
import sys
from typing import BinaryIO

from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune.tokens import Chunk, Encoder, Encoding, Refused


def serve(given: BinaryIO, answers: BinaryIO) -> None:
    """Answer chunks until the input ends: the first is an `Encoding`, the others are lists of `Placed`."""
    try:
        encoding: Encoding = pickle.load(given)
        encoder = Encoder(encoding, load_tokenizer(encoding.tokenizer))
        while True:
            _answer(answers, encoder.chunk(pickle.load(given)))
    except EOFError:
        return  # nothing more is wanted
    except StageError as error:
        _answer(answers, Refused(error.reason, error.message, error.hint))


def _answer(answers: BinaryIO, told: Chunk | Refused) -> None:
    pickle.dump(told, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as _answers:
        os.dup2(2, 1)  # what a library prints is no answer
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        serve(sys.stdin.buffer, _answers)
