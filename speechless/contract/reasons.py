"""Why a stage failed, in one CamelCase word: the same in a condition, an Event and the documentation."""

from enum import StrEnum

from speechless.contract.exit_codes import ExitCode


class FailureReason(StrEnum):
    """The cause as the stage knows it. The operator adds those that only it can see (image pull, scheduling)."""

    INVALID_SPEC = "InvalidSpec"
    DATASET_INVALID = "DatasetInvalid"
    MODEL_INVALID = "ModelInvalid"
    DIGEST_MISMATCH = "DigestMismatch"
    INPUT_NOT_FOUND = "InputNotFound"
    INPUT_FORBIDDEN = "InputForbidden"
    STORE_UNAVAILABLE = "StoreUnavailable"
    STORE_FULL = "StoreFull"
    TRACKER_UNAVAILABLE = "TrackerUnavailable"
    OUT_OF_MEMORY = "OutOfMemory"
    LOSS_NOT_FINITE = "LossNotFinite"
    LOSS_DIVERGED = "LossDiverged"
    NOTHING_SCORED = "NothingScored"
    CODE_EXECUTION_NOT_ALLOWED = "CodeExecutionNotAllowed"
    PERPLEXITY_INCREASED = "PerplexityIncreased"
    INTERRUPTED = "Interrupted"
    INTERNAL_ERROR = "InternalError"

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that goes with the reason."""
        return _EXIT[self]


_EXIT = {
    FailureReason.INVALID_SPEC: ExitCode.INVALID_SPEC,
    FailureReason.CODE_EXECUTION_NOT_ALLOWED: ExitCode.INVALID_SPEC,
    FailureReason.DATASET_INVALID: ExitCode.BAD_DATA,
    FailureReason.MODEL_INVALID: ExitCode.BAD_DATA,
    FailureReason.DIGEST_MISMATCH: ExitCode.BAD_DATA,
    FailureReason.LOSS_NOT_FINITE: ExitCode.BAD_DATA,
    FailureReason.LOSS_DIVERGED: ExitCode.BAD_DATA,
    FailureReason.NOTHING_SCORED: ExitCode.BAD_DATA,
    FailureReason.PERPLEXITY_INCREASED: ExitCode.BAD_DATA,
    FailureReason.INPUT_NOT_FOUND: ExitCode.INPUT_MISSING,
    FailureReason.INPUT_FORBIDDEN: ExitCode.INPUT_MISSING,
    FailureReason.STORE_UNAVAILABLE: ExitCode.UNAVAILABLE,
    FailureReason.STORE_FULL: ExitCode.UNAVAILABLE,
    FailureReason.TRACKER_UNAVAILABLE: ExitCode.UNAVAILABLE,
    FailureReason.OUT_OF_MEMORY: ExitCode.OUT_OF_MEMORY,
    FailureReason.INTERRUPTED: ExitCode.INTERRUPTED,
    FailureReason.INTERNAL_ERROR: ExitCode.INTERNAL,
}
