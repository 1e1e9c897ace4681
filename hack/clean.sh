#!/bin/sh
# Remove what builds, checks and tests left in the checkout. .venv stays (`make setup` looks after it), clusters stay too.
set -eu
cd "$(dirname "$0")/.."
rm -rf site build dist artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
find . -path ./.git -prune -o -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
