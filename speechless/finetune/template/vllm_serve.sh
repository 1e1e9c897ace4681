#!/usr/bin/env bash
# Serve the merged model with vLLM, by VLLM_PORT and TENSOR_PARALLEL_SIZE of task.env. vLLM is yours to install.
# Without it: python -m speechless.api.server start --model MODEL
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

if ! command -v vllm > /dev/null; then
    echo "vllm_serve.sh: vllm is not installed: pip install vllm, on a machine with a GPU" >&2
    exit 127
fi
exec vllm serve "$TEST_MODEL_PATH" --served-model-name "$(basename "$TEST_MODEL_PATH")" \
    --port "${VLLM_PORT:-12345}" --tensor-parallel-size "${TENSOR_PARALLEL_SIZE:-1}" "$@"
