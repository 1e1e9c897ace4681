#!/bin/sh
# Run tests/library in its own environment (.venv-library, made here), with llama.cpp's tools from their image.
# Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
hack/setup.sh library
settings=$(.venv-library/bin/python hack/llamacpp.py)
eval "$settings"
# Most of them train: a test is to find a hang, not a slow machine. Without PYTHON, which names the interpreter that
# makes environments: a task directory runs on the one that started it.
exec env -u PYTHON .venv-library/bin/pytest tests/library --timeout 600 "$@"
