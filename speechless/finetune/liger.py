"""Liger's kernels for a model's norms, rotary embeddings and gated MLPs (Hsu et al., 2024, arXiv:2410.10989)."""

from __future__ import annotations

from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError


def check(kind: str) -> None:
    """StageError(INVALID_SPEC) for a model type (config.json's) that Liger does not know: it would do nothing."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        known = ", ".join(sorted(MODEL_TYPE_TO_APPLY_LIGER_FN))
        what = f"useLigerKernel: Liger has no kernels for models of the type {kind}, but for {known}"
        raise StageError(FailureReason.INVALID_SPEC, what, "leave it out")


def fused(model: Any) -> Any:
    """The model, whose layers compute by Liger's kernels. Its type is known to them.

    Its loss stays Transformers' own: TRL's trainers compute that in pieces, and take what the model says for more than
    a loss.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    check(str(model.config.model_type))
    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    return model
