#!/usr/bin/env bash
# Train by the settings of task.env.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./task.env

: "${BASE_MODEL_PATH:?set it in task.env: the base model}"
if [ "${NUM_GPUS:-1}" != 1 ]; then
    echo "NUM_GPUS=$NUM_GPUS: training on several GPUs is not offered yet: set 1, or leave it out" >&2
    exit 2
fi

# A flag, and the variable whose value it gets, where it has one.
flags=()
pass() {
    if [ -n "${!2:-}" ]; then flags+=("--$1" "${!2}"); fi
}
# The same for a variable that is true or false.
switch() {
    case "${!2:-}" in
        "" | [Ff]alse | 0 | no) ;;
        [Tt]rue | 1 | yes) flags+=("--$1") ;;
        *) flags+=("--$1" "${!2}") ;;
    esac
}

pass model_name_or_path BASE_MODEL_PATH
pass output_dir OUTPUT_DIR
pass task_name TASK_NAME
pass dataset DATASET
pass dataset_config DATASET_CONFIG
pass dataset_split DATASET_SPLIT
pass dataset_format DATASET_FORMAT
pass prompt_type PROMPT_TYPE
pass chat_template CHAT_TEMPLATE
pass eos_token EOS_TOKEN
pass bad_rows BAD_ROWS
pass max_train_samples MAX_TRAIN_SAMPLES
pass eval_dataset_size EVAL_DATASET_SIZE
pass max_eval_samples MAX_EVAL_SAMPLES
switch force_remove_overlength_samples REMOVE_OVERLENGTH_SAMPLES
switch packing PACKING
switch group_by_length GROUP_BY_LENGTH
pass objective OBJECTIVE
module=finetune
if [ -n "${TRAIN_EXPERTS:-}" ]; then # set by run_moe.sh
    module=moe
    pass num_experts NUM_EXPERTS
    pass topk TOPK
    pass adapter_dim ADAPTER_DIM
    if [ "${BITS:-auto}" != auto ]; then pass bits BITS; fi
else
    pass bits BITS
fi
if [ -z "${TRAIN_EXPERTS:-}" ] && [ -z "${FULL_FINETUNE:-}" ]; then
    pass lora_r LORA_R
    pass lora_alpha LORA_ALPHA
    pass lora_dropout LORA_DROPOUT
    pass lora_modules LORA_MODULES
fi
pass model_max_length MODEL_MAX_LENGTH
pass rope_scaling ROPE_SCALING
pass rope_scaling_factor ROPE_SCALING_FACTOR
pass rope_theta ROPE_THETA
pass sliding_window SLIDING_WINDOW
pass num_train_epochs NUM_TRAIN_EPOCHS
pass num_early_stopping_train_epochs NUM_EARLY_STOPPING_TRAIN_EPOCHS
pass per_device_train_batch_size PER_DEVICE_TRAIN_BATCH_SIZE
pass gradient_accumulation_steps GRADIENT_ACCUMULATION_STEPS
pass learning_rate LEARNING_RATE
pass lr_scheduler_type LR_SCHEDULER_TYPE
pass warmup_steps WARMUP_STEPS
pass optim OPTIM
pass gradient_checkpointing GRADIENT_CHECKPOINTING
pass seed SEED
pass eval_steps EVAL_STEPS
switch load_best_model_at_end LOAD_BEST_MODEL_AT_END
pass logging_steps LOGGING_STEPS
pass save_strategy SAVE_STRATEGY
if [ "${SAVE_STRATEGY:-steps}" = steps ]; then
    pass save_steps SAVE_STEPS
fi
SAVE_TOTAL_LIMIT="${SAVE_TOTAL_LIMIT#--save_total_limit }"
pass save_total_limit SAVE_TOTAL_LIMIT
pass report_to REPORT_TO
pass max_memory_MB MAX_MEMORY_MB

# These are whole flags: they are split into words on purpose, and a star in them is none.
set -f
# shellcheck disable=SC2206
flags+=(${FULL_FINETUNE:-} ${NEFTUNE:-} ${ADD_REASONING_TOKENS:-} ${DEEPSPEED:-} ${DEEPSEED:-} ${DEEPSEED_STAGE2:-}
    ${MISC_PARAMS:-})

exec "${PYTHON:-python3}" -m "speechless.finetune.$module" "${flags[@]}"
