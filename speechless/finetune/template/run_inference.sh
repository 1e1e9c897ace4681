#!/usr/bin/env bash
# Put PROMPT, or what stands on standard input, to the merged model. Further flags of `speechless generate` may follow.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

exec "${PYTHON:-python3}" -m speechless.generate --model "$TEST_MODEL_PATH" ${PROMPT:+--prompt "$PROMPT"} "$@"
