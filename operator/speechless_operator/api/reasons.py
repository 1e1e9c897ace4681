"""Every reason there is: one enum for conditions, Events, status.failure and the documentation."""

from enum import StrEnum

from speechless.contract import FailureReason


class Reason(StrEnum):
    """Why a condition has its status. The docstring of each is its line in the documentation."""

    # How it goes
    SUSPENDED = "Suspended"
    """spec.suspend is true."""
    WAITING_FOR_INPUT = "WaitingForInput"
    """Something that this resource refers to is not there or not finished; the message names it."""
    STARTING = "Starting"
    """The pod is made, and does not run yet."""
    RUNNING = "Running"
    """The pod runs."""
    RETRYING = "Retrying"
    """An attempt failed for a cause that may pass; another one follows."""
    FINISHING = "Finishing"
    """The pod ended; its result is being read."""
    QUEUED = "Queued"
    """The queueing system (Kueue) has not admitted the run yet; the message has its reason."""
    HELD_BY_OTHERS = "HeldByOthers"
    """Somebody else has set spec.suspend of the run's Job; it goes on when they take that back."""
    WAITING_FOR_EARLIER = "WaitingForEarlier"
    """Something of an earlier attempt, or of an earlier resource of this name, has not gone yet."""
    RUN_AGAIN = "RunAgain"
    """The run's result was lost with its pod; the same run starts once more, and finds what was published."""
    SIDECAR_RUNNING = "SidecarRunning"
    """The stage has ended, and another container keeps its pod alive; the message names it."""
    SUCCEEDED = "Succeeded"
    """The artifact is published and its digest is in the status."""
    REUSED = "Reused"
    """The artifact was there already, whole and of the same settings: nothing was done again."""
    AVAILABLE = "Available"
    """The wanted revision is served."""
    SCALED_TO_ZERO = "ScaledToZero"
    """spec.replicas is 0."""
    ROLLING_OUT = "RollingOut"
    """A new revision starts; the one before serves until it is ready."""
    NOT_AVAILABLE = "NotAvailable"
    """The revision that the Service selects has no ready pod."""
    RESOLVED = "Resolved"
    """The model's address and digest are known."""
    PINNED = "Pinned"
    """What the model came from is gone; what was resolved of it is kept in the status, and serves on."""

    # Gates
    GATES_PASSED = "GatesPassed"
    """Every gate holds."""
    GATE_FAILED = "GateFailed"
    """A number lies outside its gate; the message has the numbers."""
    METRIC_MISSING = "MetricMissing"
    """A gate names a metric that the evaluation did not measure."""
    OVERRIDDEN = "Overridden"
    """The gate is closed, and the annotation speechless.dev/gate-override opens it."""

    # What the user must mend
    INVALID_SPEC = FailureReason.INVALID_SPEC.value
    """The spec is wrong; the message has the field's path."""
    UPSTREAM_FAILED = "UpstreamFailed"
    """What this resource refers to failed. It goes on when that is created again and succeeds."""
    NAME_CONFLICT = "NameConflict"
    """An object of the name that a child needs exists and belongs to somebody else."""
    NOT_ALLOWED = "NotAllowed"
    """The administrator does not allow a field's value; the message names both."""
    DEPENDENCY_CYCLE = "DependencyCycle"
    """Resources refer to each other in a circle: none of them can begin."""
    CODE_EXECUTION_NOT_ALLOWED = FailureReason.CODE_EXECUTION_NOT_ALLOWED.value
    """A suite runs what the model wrote, and the operator does not allow that."""

    # What stands in a pod's way
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The node cannot get the image."""
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pod."""
    POD_REFUSED = "PodRefused"
    """The API server refuses the pod: Pod Security, a policy or a webhook."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota leaves no room."""
    CHILD_REFUSED = "ChildRefused"
    """The API server refuses an object that the operator makes."""
    API_ERROR = "ApiError"
    """The API server, or a webhook behind it, answers an object of this resource with an error; it is tried again."""
    STATUS_REFUSED = "StatusRefused"
    """The API server refuses what was to be told here: the CRD is of another version, or this is a defect."""
    OPERATOR_ERROR = "OperatorError"
    """A defect of the operator; its log has the traceback. What runs and serves is left alone."""
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    """The node cannot make the container, for example because a Secret is missing."""
    CRASH_LOOPING = "CrashLooping"
    """The container ends again and again."""

    # How a run failed, as the operator sees it
    OOM_KILLED = "OOMKilled"
    """The kernel ended the container: it used more memory than its limit."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The run took longer than spec.activeDeadlineSeconds."""
    STAGE_FAILED = "StageFailed"
    """The container ended with an error and left no result."""
    RESULT_MISSING = "ResultMissing"
    """The Job completed twice, and no result of it could be read."""
    RESULT_REJECTED = "ResultRejected"
    """The pod's result is of another output or of other inputs than those of this run."""

    # How a run failed, as the stage says it
    DATASET_INVALID = FailureReason.DATASET_INVALID.value
    """A row or a file of the data is wrong."""
    MODEL_INVALID = FailureReason.MODEL_INVALID.value
    """The model's folder is wrong."""
    DIGEST_MISMATCH = FailureReason.DIGEST_MISMATCH.value
    """An input is not what its digest says."""
    INPUT_NOT_FOUND = FailureReason.INPUT_NOT_FOUND.value
    """An input does not exist."""
    INPUT_FORBIDDEN = FailureReason.INPUT_FORBIDDEN.value
    """An input may not be read."""
    STORE_UNAVAILABLE = FailureReason.STORE_UNAVAILABLE.value
    """The store did not answer."""
    STORE_FULL = FailureReason.STORE_FULL.value
    """The store has no room."""
    OUT_OF_MEMORY = FailureReason.OUT_OF_MEMORY.value
    """The process or its GPU ran out of memory."""
    LOSS_NOT_FINITE = FailureReason.LOSS_NOT_FINITE.value
    """Training diverged."""
    NOTHING_SCORED = FailureReason.NOTHING_SCORED.value
    """The evaluation has no sample that counts."""
    PERPLEXITY_INCREASED = FailureReason.PERPLEXITY_INCREASED.value
    """The quantized model lost more than spec.verify allows."""
    INTERRUPTED = FailureReason.INTERRUPTED.value
    """The attempt was stopped."""
    INTERNAL_ERROR = FailureReason.INTERNAL_ERROR.value
    """An error that the stage did not expect; the log has its traceback."""
