"""A task directory of an earlier version: what is not offered is named at once; the rest runs by its own script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechless.finetune import tasks, variables
from speechless.finetune.__main__ import main
from speechless.finetune.flags import parse

COMMON = """\
export MODELS_ROOT_DIR=/opt/local/llm_models/huggingface.co
export BASE_MODEL_PATH=${MODELS_ROOT_DIR}/org/base
export TEST_MODEL_PATH=${MODELS_ROOT_DIR}/speechlessai/$(basename "$PWD")
export SPEECHLESS_DATA_DIR=/opt/local/datasets/speechless_data
export DATASET=${SPEECHLESS_DATA_DIR}/rows.jsonl
export OUTPUT_DIR=./outputs
export TASK_NAME=$(basename ${TEST_MODEL_PATH})
export TASK_CHECKPOINT_DIR=${OUTPUT_DIR}
export WANDB_PROJECT=${TASK_NAME}
export MAX_TRAIN_SAMPLES=0
export SAVE_STEPS=100
export EVAL_STEPS=10
export WARMUP_STEPS=20
export LOGGING_STEPS=1
export NUM_TRAIN_EPOCHS=3
export SAVE_TOTAL_LIMIT="--save_total_limit ${NUM_TRAIN_EPOCHS}"
export LR_SCHEDULER_TYPE=cosine
export OPTIM=paged_adamw_8bit
export NUM_EXPERTS=8
export TOPK=2
export ADAPTER_DIM=64
export MODEL_MAX_LENGTH=2048
export ROPE_THETA=1000000
export SLIDING_WINDOW=4096
export PER_DEVICE_TRAIN_BATCH_SIZE=4
export GROUP_BY_LENGTH=False
export MAX_MEMORY_MB=40000
export RAY_memory_monitor_refresh_ms=0
export BITS=4
export NUM_GPUS=4
#export DEEPSEED_STAGE2="--deepspeed ./deepspeed/ds_z2_config.json"
#export NEFTUNE="--neftune --noise_alpha 5.0"
"""
VERSIONS = {
    "0.9": COMMON
    + """\
export DATASET_FORMAT=conversations
export PROMPT_TYPE=alpaca
export MAX_EVAL_SAMPLES=1000
export EVAL_DATASET_SIZE=1000
export SAVE_STRATEGY=steps
export LEARNING_RATE=2e-4
export LORA_R=64
export LORA_ALPHA=16
export GRADIENT_ACCUMULATION_STEPS=64
""",
    "newest": COMMON
    + """\
export DATASET_FORMAT=messages
export PROMPT_TYPE=chat_template
export MAX_EVAL_SAMPLES=200
export EVAL_DATASET_SIZE=200
export SAVE_STRATEGY=epoch
export NUM_EARLY_STOPPING_TRAIN_EPOCHS=${NUM_TRAIN_EPOCHS}
export LEARNING_RATE=2e-5
export LORA_R=32
export LORA_ALPHA=64
export GRADIENT_ACCUMULATION_STEPS=4
export VLLM_PORT=12345
export TENSOR_PARALLEL_SIZE=4
export SGLANG_PORT=30000
""",
}
"""The documented variables with the documented values."""
SCRIPT = """\
SCRIPT_PATH=$(cd "$(dirname "$0")"; pwd)
source ${SCRIPT_PATH}/task.env
echo "$BITS $NUM_GPUS $OPTIM $SAVE_TOTAL_LIMIT" > ran
exit 3
"""
EDITS = {"NUM_GPUS=4": "NUM_GPUS=1"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_directory_says_what_to_edit_and_then_runs(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name in variables.BY_NAME]:
        monkeypatch.delenv(name)
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "task.env").write_text(VERSIONS[version])
    (folder / "run_finetune.sh").write_text(SCRIPT)
    assert main(["run", "--task_name", "old"]) == 2
    told = capsys.readouterr().err.splitlines()
    expected = [edit for edit in EDITS if edit in VERSIONS[version]]
    assert len(told) == len(expected)
    assert all(any(edit in line for line in told) for edit in expected)
    assert not (folder / "ran").exists()

    text = VERSIONS[version]
    for old, new in EDITS.items():
        text = text.replace(old, new)
    (folder / "task.env").write_text(text)
    assert main(["run", "--task_name", "old"]) == 3
    assert (folder / "ran").read_text() == "4 1 paged_adamw_8bit --save_total_limit 3\n"

    flags = parse(variables.arguments(tasks.settings(folder), os.environ))
    assert (flags.method, flags.qlora.bits) == ("QLoRA", 4)
    assert flags.model == "/opt/local/llm_models/huggingface.co/org/base"
    assert (flags.dataset, flags.save_total_limit) == ("/opt/local/datasets/speechless_data/rows.jsonl", 3)
    assert flags.of_the_model == {"rope_theta": 1e6, "sliding_window": 4096}
    assert (flags.save_every_epoch, flags.lora.dropout) == (version == "newest", 0.05)
    assert flags.hyperparameters.learning_rate == (2e-5 if version == "newest" else 2e-4)
