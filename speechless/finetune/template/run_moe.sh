#!/usr/bin/env bash
# Train experts (NUM_EXPERTS, TOPK, ADAPTER_DIM) instead of LoRA's adapters, by the settings of task.env; with BITS=auto
# on a model in 4 bits. merge.sh makes a Mixtral of them.
set -euo pipefail
export TRAIN_EXPERTS=1
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_finetune.sh"
