"""`python -m speechless.finetune.moe`: the trainer, with experts instead of LoRA's adapters, on a model in 4 bits."""

import sys
from collections.abc import Sequence

from speechless.contract import Experts
from speechless.entry import run
from speechless.finetune.flags import EXPERTS


def arguments(argv: Sequence[str]) -> list[str]:
    """The trainer's own command line.

    >>> arguments(["--topk", "1", "--bits=16"])
    ['--topk', '1', '--bits=16']
    >>> arguments(["--seed", "3"])
    ['--seed', '3', '--num_experts', '8', '--bits', '4']
    """
    given = {word.partition("=")[0].removeprefix("--") for word in argv if word.startswith("--")}
    words = [*argv]
    if not given & set(EXPERTS):
        words += ["--num_experts", str(Experts().num_experts)]
    return words if "bits" in given else [*words, "--bits", "4"]


def main(argv: Sequence[str]) -> int:
    """Train; the exit status of the trainer."""
    from speechless.finetune import finetune

    return finetune.main(arguments(argv))


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
