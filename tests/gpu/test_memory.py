"""The memory that a plan tells is near what the GPU gave, for models of real shapes, and all of it trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)
CASES = {
    "1b LoRA": ("1b", ["--bits", "16"]),
    "1b LoRA kept": ("1b", ["--bits", "16", "--gradient_checkpointing", "false"]),
    "1b LoRA Liger": ("1b", ["--bits", "16", "--use_liger_kernel", "true"]),
    "1b Full": ("1b", ["--full_finetune"]),
    "1b Full kept": ("1b", ["--full_finetune", "--gradient_checkpointing", "false"]),
    "1b Full pure": ("1b", ["--full_finetune", "--pure_bf16"]),
    "1b Full pure kept": ("1b", ["--full_finetune", "--pure_bf16", "--gradient_checkpointing", "false"]),
    "1b Full 8 bit": ("1b", ["--full_finetune", "--optim", "adamw_bnb_8bit"]),
    "1b Full foreach": ("1b", ["--full_finetune", "--optim", "adamw_torch"]),
    "1b QLoRA": ("1b", ["--bits", "4"]),
    "1b 8 bit": ("1b", ["--bits", "8"]),
    "1b DPO": ("1b", ["--objective", "DPO"]),
    "1b DPO Full": ("1b", ["--objective", "DPO", "--full_finetune"]),
    "7b LoRA": ("7b", ["--bits", "16"]),
    "7b QLoRA": ("7b", ["--bits", "4"]),
}
WORDS = ["def", "return", "for", "x", "list", "sum", "sorted", "if", "not", "n"]


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_near_what_is_measured(
    case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shape, words = CASES[case]
    folder = request.getfixturevalue(f"shape_{shape}")
    text = " ".join(WORDS * 200)
    row = {"prompt": "x", "chosen": text, "rejected": f"n {text}"} if "DPO" in case else {"text": text}
    rows = tmp_path / "rows.jsonl"
    rows.write_text((json.dumps(row) + "\n") * 64)
    argv = [
        *(sys.executable, "-m", "speechless.finetune.finetune", "--model_name_or_path", str(folder)),
        *("--dataset", str(rows), "--output_dir", str(tmp_path / "out"), "--max_steps", "8"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--save_steps", "0"),
        *("--model_max_length", "1024", "--eval_dataset_size", "0", "--logging_steps", "2", *words),
    ]
    planned = subprocess.Popen([*argv, "--dry_run", "-o", "json"], stdout=subprocess.PIPE, text=True)
    subprocess.run(argv, check=True, timeout=280)
    memory = json.loads(planned.communicate(timeout=60)[0])["memory"]
    estimated = memory["total"] - next(
        part["bytes"] for part in memory["components"] if part["name"] == "libraries"
    )
    (log,) = tmp_path.glob("out/**/trainer_log.jsonl")
    last = [told for line in log.read_text().splitlines() if "memory_gb" in (told := json.loads(line))][-1]
    print(case, json.dumps(last), {part["name"]: part["bytes"] for part in memory["components"]})
    ratio = last["memory_gb"] * 1e9 / estimated
    print(f"RATIO {case}: {ratio:.2f}, measured {last['memory_gb']:.1f} GB")
    assert 0.9 < ratio < 1.1
