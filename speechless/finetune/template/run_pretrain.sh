#!/usr/bin/env bash
# Learn texts as they are (rows with "text"), by the settings of task.env.
set -euo pipefail
export OBJECTIVE=pretrain
exec bash "$(dirname "${BASH_SOURCE[0]}")/run_finetune.sh"
