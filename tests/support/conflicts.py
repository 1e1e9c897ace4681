"""Settings of a FineTune that do not go together, by the field that a message is about."""

from __future__ import annotations

from typing import Any

BREAKS: dict[str, dict[str, Any]] = {
    "hyperparameters.packing": {
        "objective": "DPO",
        "dataset": {"uri": "pvc://models/rows", "format": "Preference"},
        "hyperparameters": {"packing": True},
    },
    "hyperparameters.groupByLength": {"hyperparameters": {"packing": True, "groupByLength": True}},
    "hyperparameters.warmupRatio": {"hyperparameters": {"warmupRatio": 0.1, "warmupSteps": 5}},
    "hyperparameters.longRows": {"objective": "Pretrain", "hyperparameters": {"longRows": "Drop"}},
    "hyperparameters.evalSteps": {"hyperparameters": {"evalSteps": 5}},
    "hyperparameters.earlyStoppingPatience": {"hyperparameters": {"earlyStoppingPatience": 2}},
    "hyperparameters.loadBestModelAtEnd": {"hyperparameters": {"loadBestModelAtEnd": True}},
    "tracking.runName": {"tracking": {"runName": "mine"}},
    "lora": {"method": "Full", "lora": {"r": 8}},
    "experts": {"lora": {"r": 8}, "experts": {}},
    "experts.topK": {"experts": {"numExperts": 4, "topK": 5}},
    "objective": {
        "objective": "Reward",
        "experts": {},
        "dataset": {"uri": "pvc://models/rows", "format": "Preference"},
    },
    "tokenizer.addReasoningTokens": {"experts": {}, "tokenizer": {"addReasoningTokens": True}},
    "tokenizer.promptType": {"tokenizer": {"promptType": "alpaca", "chatTemplate": "{{ messages }}"}},
    "precision": {"method": "QLoRA", "precision": "PureBF16"},
    "qlora": {"method": "LoRA", "qlora": {"doubleQuant": False}},
    "qlora.bits": {"method": "QLoRA", "qlora": {"bits": 8, "quantType": "fp4"}},
    "ropeScaling": {"ropeScaling": {"type": "yarn"}, "merge": False},
    "merge": {"method": "Full", "merge": False},
}
