"""A model folder's tokenizer, with another chat template or end of text if one is wanted."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError

FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
"""Patterns of what a folder's tokenizer is made of, beside config.json."""
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}


def load_tokenizer(folder: Path, chat_template: str | None = None, eos_token: str | None = None) -> Any:
    """The tokenizer of a model folder, padding on the right.

    `chat_template` (Jinja) and `eos_token` (a token of the vocabulary) take the place of the folder's own.
    StageError(MODEL_INVALID) if there is no tokenizer or it knows no end of text; StageError(INVALID_SPEC) if the
    template is no Jinja or uses a name that nothing gives it, or if `eos_token` is not one token.
    """
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        told = f"{folder.name}: no config.json: this is no Hugging Face model folder"
        raise StageError(FailureReason.MODEL_INVALID, told, "name the folder that holds config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        told = f"{folder.name}: the tokenizer cannot be loaded: {first[:300]}"
        raise StageError(FailureReason.MODEL_INVALID, told, "check the model's files") from error
    if eos_token is not None:
        _refuse_unless_one_token(tokenizer, eos_token, folder.name)
        tokenizer.eos_token = eos_token
    if tokenizer.eos_token_id is None:
        what = f"{folder.name}: the tokenizer has no eos_token: the model could not learn to stop"
        raise StageError(FailureReason.MODEL_INVALID, what, "set eos_token in tokenizer_config.json")
    if chat_template is not None:
        _check_template(
            chat_template, set(tokenizer.SPECIAL_TOKENS_ATTRIBUTES) | set(tokenizer.special_tokens_map)
        )
        tokenizer.chat_template = chat_template
    tokenizer.padding_side = "right"
    # A row is cut or measured after it became tokens: what Transformers says of long ones is wrong here.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def _refuse_unless_one_token(tokenizer: Any, token: str, name: str) -> None:
    """StageError(INVALID_SPEC) unless a text is a token of the vocabulary and is read as that one token."""
    known = tokenizer.get_vocab().get(token)
    ids: list[int] = tokenizer(token, add_special_tokens=False)["input_ids"]
    if known is not None and ids == [known]:
        return
    what = f"eos_token: {token!r} is no token of {name}"
    if ids and known is None:
        what += f": its tokenizer makes {len(ids)} of it"
    special = dict.fromkeys(
        (*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values()))
    )
    likely = difflib.get_close_matches(token, special, n=1)
    hint = f"there is {likely[0]!r}" if likely else f"special tokens are {', '.join([*special][:8])}"
    raise StageError(FailureReason.INVALID_SPEC, what, hint)


def _check_template(source: str, more: set[str]) -> None:
    """StageError(INVALID_SPEC) for what is no Jinja, and for a name that is shown or looked into and never there."""
    import jinja2.meta
    from jinja2 import nodes
    from transformers.utils import chat_template_utils as theirs

    try:
        environment = theirs._compile_jinja_template(source).environment
        tree = environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        what = f"chat_template: line {error.lineno}: {error.message}"
        raise StageError(FailureReason.INVALID_SPEC, what, "it has to be a Jinja template") from error
    known = _GIVEN | more | set(environment.globals)
    # A name that is set in one branch is known in the others.
    known |= {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    unknown = jinja2.meta.find_undeclared_variables(tree) - known
    # Names like `enable_thinking` are optional: a template asks first whether they are there, or tests them.
    asking = (nodes.Test, nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or)
    asked = [name for node in tree.find_all(asking) for name in node.iter_child_nodes()]
    asked += [node.test for node in tree.find_all((nodes.If, nodes.CondExpr))]
    asked += [node.node for node in tree.find_all(nodes.Filter) if node.name in ("default", "d")]
    optional = {node.name for node in asked if isinstance(node, nodes.Name)}
    if missing := sorted(unknown - optional):
        what = f"chat_template: nothing is called {missing[0]!r} in a chat template"
        likely = difflib.get_close_matches(missing[0], sorted(known), n=1)
        hint = (
            f"is it {likely[0]!r}?"
            if likely
            else f"there are {', '.join(sorted(_GIVEN))} and the special tokens"
        )
        raise StageError(FailureReason.INVALID_SPEC, what, hint)
