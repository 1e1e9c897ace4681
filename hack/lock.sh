#!/bin/sh
# Pin every environment: requirements/*.in (and pyproject.toml for dev) -> requirements/*.txt, each package with its hashes;
# and from them constraints.txt for pip and poetry.lock for Poetry.
# Arguments go to `uv pip compile`: `hack/lock.sh --upgrade` raises every version, `--upgrade-package ruff` one.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/uv ]; then
    echo "lock: .venv/bin/uv is not there; run 'make setup' first" >&2
    exit 1
fi

# No index address and no machine's path reaches a file: mirrors and closed networks stay possible.
compile() {
    out=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "$out" "$@"
    echo "lock: $out"
}

compile requirements/uv.txt requirements/uv.in "$@"
compile requirements/poetry.txt requirements/poetry.in "$@"
compile requirements/dev.txt pyproject.toml --extra operator requirements/dev.in "$@"

# The images: what they stand on is fixed first, and the others may not differ from it.
compile images/tools/requirements.txt images/tools/requirements.in "$@"
compile images/llamacpp/requirements.txt images/llamacpp/requirements.in "$@"
compile images/torch/requirements.txt images/torch/requirements.in "$@"
for image in train eval quantize; do
    compile "images/$image/requirements.txt" "images/$image/requirements.in" -c images/torch/requirements.txt "$@"
done
compile tests/e2e/images/probe/requirements.txt tests/e2e/images/probe/requirements.in "$@"
for image in operator serve-llamacpp; do
    compile "images/$image/requirements.txt" "images/$image/requirements.in" "$@"
done
compile requirements/library.txt requirements/library.in -c images/torch/requirements.txt "$@"
.venv/bin/python hack/constraints.py
# Poetry in an environment of its own: what it needs is no tool of this checkout.
.venv/bin/uv run --quiet --isolated --no-project --python .venv/bin/python --with-requirements requirements/poetry.txt \
    python hack/poetry_lock.py
