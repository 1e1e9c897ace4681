"""Merge an adapter into its base model, and prove that the merged model says the same.

The sum is made in float32, where merging changes a logit by about 1e-6; in bfloat16 it is about 1e-2 (measured).
"""

import logging
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason, Metric
from speechless.errors import StageError
from speechless.finetune import models

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a logit that is accepted, relative to the largest logit (or to 1)."""


def merge(base: Path, adapter: Path, out: Path) -> tuple[Metric, ...]:
    """Write the base model with the adapter merged into it to `out`, in the base model's own type.

    Gives `merge/max_logit_difference` between adapter and merged model on a fixed input, in float32. StageError
    (MODEL_INVALID) if the adapter does not fit the base or the two differ.
    """
    import torch
    from peft import PeftModel

    model = models.load_model(base, torch.float32)
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter))
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        what = f"{adapter.name}: the adapter does not fit {base.name}: {first[:300]}"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "name the base model it was trained on"
        ) from error
    adapted.eval()
    tokens = _probe(model.get_input_embeddings().num_embeddings)
    before = _logits(adapted, tokens)
    merged = adapted.merge_and_unload(safe_merge=True)
    after = _logits(merged, tokens)
    difference = (after - before).abs().max().item()
    log.info("merged; largest difference of a logit: %.3g", difference)
    if not difference <= TOLERANCE * max(1.0, before.abs().max().item()):
        what = f"the merged model's logits differ from the adapter's by {difference:.3g}"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "publish the adapter alone (merge: false) and tell us"
        )
    models.save_model(merged, base, out)
    return (Metric(name="merge/max_logit_difference", value=difference),)


def _probe(vocabulary: int) -> Any:
    """Fixed token ids, shape (2, 32): the same for every run of a model."""
    import torch

    return torch.randint(vocabulary, (2, 32), generator=torch.Generator().manual_seed(0))


def _logits(model: Any, tokens: Any) -> Any:
    """Logits in float32, shape (2, 32, vocabulary)."""
    import torch

    with torch.no_grad():
        return model(input_ids=tokens).logits.float()
