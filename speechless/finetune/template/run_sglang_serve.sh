#!/usr/bin/env bash
# Serve the merged model with SGLang, by SGLANG_PORT and TENSOR_PARALLEL_SIZE of task.env. SGLang is yours to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

if ! "${PYTHON:-python3}" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("sglang") is None)'; then
    echo "run_sglang_serve.sh: sglang is not installed: pip install sglang, on a machine with a GPU" >&2
    exit 127
fi
exec "${PYTHON:-python3}" -m sglang.launch_server --model-path "$TEST_MODEL_PATH" \
    --served-model-name "$(basename "$TEST_MODEL_PATH")" \
    --port "${SGLANG_PORT:-30000}" --tp-size "${TENSOR_PARALLEL_SIZE:-1}" "$@"
