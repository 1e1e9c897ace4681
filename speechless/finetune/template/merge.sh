#!/usr/bin/env bash
# Merge the newest adapter into the base model, by the settings of task.env.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

: "${BASE_MODEL_PATH:?set it in task.env: the base model}"

exec "${PYTHON:-python3}" -m speechless.finetune.merge_peft_adapters \
    --base_model_name_or_path "$BASE_MODEL_PATH" \
    --lora_model_path "$TASK_CHECKPOINT_DIR/latest" \
    --merged_model_name_or_path "$TEST_MODEL_PATH"
