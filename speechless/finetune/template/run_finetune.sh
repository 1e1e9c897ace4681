#!/usr/bin/env bash
# Train by the settings of task.env.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

: "${BASE_MODEL_PATH:?set it in task.env: the base model}"

lora=()
if [ -z "$FULL_FINETUNE" ]; then
    lora=(--lora_r "$LORA_R" --lora_alpha "$LORA_ALPHA" --lora_dropout "$LORA_DROPOUT" --lora_modules "$LORA_MODULES")
fi
eval=()
if [ -n "${EVAL_STEPS:-}" ]; then
    eval=(--eval_steps "$EVAL_STEPS")
fi

rate=()
if [ -n "${LEARNING_RATE:-}" ]; then
    rate=(--learning_rate "$LEARNING_RATE")
fi
part=()
if [ -n "${DATASET_CONFIG:-}" ]; then
    part+=(--dataset_config "$DATASET_CONFIG")
fi
if [ -n "${DATASET_SPLIT:-}" ]; then
    part+=(--dataset_split "$DATASET_SPLIT")
fi

# FULL_FINETUNE and MISC_PARAMS are flags: they are split into words on purpose.
# shellcheck disable=SC2086
exec "${PYTHON:-python3}" -m speechless.finetune.finetune \
    --model_name_or_path "$BASE_MODEL_PATH" \
    --dataset "$DATASET" \
    --dataset_format "$DATASET_FORMAT" \
    --objective "$OBJECTIVE" \
    --bad_rows "$BAD_ROWS" \
    --max_train_samples "$MAX_TRAIN_SAMPLES" \
    --eval_dataset_size "$EVAL_DATASET_SIZE" \
    --max_eval_samples "$MAX_EVAL_SAMPLES" \
    --output_dir "$OUTPUT_DIR" \
    --bits "$BITS" \
    --model_max_length "$MODEL_MAX_LENGTH" \
    --num_train_epochs "$NUM_TRAIN_EPOCHS" \
    --per_device_train_batch_size "$PER_DEVICE_TRAIN_BATCH_SIZE" \
    --gradient_accumulation_steps "$GRADIENT_ACCUMULATION_STEPS" \
    --lr_scheduler_type "$LR_SCHEDULER_TYPE" \
    --warmup_steps "$WARMUP_STEPS" \
    --logging_steps "$LOGGING_STEPS" \
    --save_steps "$SAVE_STEPS" \
    --save_total_limit "${SAVE_TOTAL_LIMIT#--save_total_limit }" \
    --seed "$SEED" \
    "${lora[@]}" \
    "${eval[@]}" \
    "${rate[@]}" \
    "${part[@]}" \
    $FULL_FINETUNE \
    $MISC_PARAMS
