"""What a test needs of this machine, or a skip that says what is missing and how to get it."""

import os

import pytest

from speechless.generate.llamacpp import wheel
from speechless.generate.llamacpp.tools import BIN_VARIABLE, find_tool
from speechless.quant.convert import SOURCE_VARIABLES

GREEDY_PROMPTS = ["def return for", "    if x in list:\n", "sum of the numbers é", "def x"]


def needs_tool(name: str) -> None:
    """Skip where a program of llama.cpp is not installed."""
    if find_tool(name) is None:
        pytest.skip(f"{name} is not on the PATH; {BIN_VARIABLE} names the folder of llama.cpp's programs")


def needs_llama_server() -> None:
    """Skip without llama-server."""
    needs_tool("llama-server")


def needs_wheel() -> None:
    """Skip without xllamacpp."""
    if not wheel.installed():
        pytest.skip("xllamacpp is not installed")


def needs_converter() -> None:
    """Skip where llama.cpp's source is not at hand."""
    from speechless.errors import StageError
    from speechless.quant.convert import find_source

    try:
        find_source()
    except StageError as problem:
        named = [name for name in SOURCE_VARIABLES if os.environ.get(name)]
        if named:
            raise
        pytest.skip(problem.message)
