"""`python -m speechless.finetune.merge_moe`: merge experts into their base model, which becomes a Mixtral.

The same as `merge_peft_adapters`, which knows an adapter of experts by its files, under the flags of earlier versions.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.finetune import merge_peft_adapters


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m speechless.finetune.merge_moe",
        description="Merge an adapter of experts into its base model. The result is a Mixtral with the base's MLP in "
        "each expert: so many times as large there. It is read back and compared with the adapter; a merge that "
        "fails leaves nothing.",
    )
    parser.add_argument(
        "--base_model", required=True, metavar="MODEL", help="the base model: a folder or a URI"
    )
    parser.add_argument(
        "--trained_weights_dir",
        required=True,
        metavar="MODEL",
        help="the adapter, or a checkpoint that holds it",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="where the merged model goes (default: the base's path and -merged)",
    )
    parser.add_output(merge_peft_adapters.Merged)
    return parser


def main(argv: Sequence[str]) -> int:
    """Merge; the exit status of `merge_peft_adapters`."""
    given = build_parser().parse(argv)
    words = ["--base_model_name_or_path", given.base_model, "--lora_model_path", given.trained_weights_dir]
    if given.output_dir is not None:
        words += ["--merged_model_name_or_path", str(given.output_dir)]
    return merge_peft_adapters.main([*words, "-o", given.output])


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
