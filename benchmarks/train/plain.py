"""What somebody writes with TRL's documentation open: the same settings, TRL's and Transformers' defaults elsewhere.

Arguments: a JSON object (model, rows, out, objective, method, packing, and the settings of `__main__.py`).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback


class Clock(TrainerCallback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        """No step has ended."""
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The loss is logged after each step, so the GPU is waited for."""
        self.ends.append(time.monotonic())


def main(given: dict[str, Any]) -> None:
    """Train and save."""
    rounded = torch.cuda.is_available() and given["method"] == "lora"
    dtype = torch.bfloat16 if rounded else torch.float32
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(given["model"])
    rows = load_dataset("json", data_files=given["rows"], split="train")
    shared = {
        "output_dir": given["out"],
        "max_steps": given["steps"],
        "per_device_train_batch_size": given["batch"],
        "learning_rate": given["rate"],
        "lr_scheduler_type": "constant",
        "max_length": given["length"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 42,
        # Ours on a CPU: TRL's own defaults are for a GPU (bfloat16, recomputed activations), and slower here.
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": torch.cuda.is_available(),
    }
    if given["defaults"]:
        for name in ("bf16", "gradient_checkpointing"):
            del shared[name]
    adapters = None
    if given["method"] == "lora":
        adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    if given["objective"] == "dpo":
        from trl import DPOConfig, DPOTrainer

        trainer = DPOTrainer(
            model=model,
            args=DPOConfig(**shared),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=adapters,
        )
    else:
        from trl import SFTConfig, SFTTrainer

        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**shared, packing=given["packing"]),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=adapters,
        )
    trainer.add_callback(clock := Clock())
    trainer.train()
    trainer.save_model(given["out"])
    print()
    print(json.dumps({"steps_per_second": (len(clock.ends) - 1) / (clock.ends[-1] - clock.ends[0])}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
