"""Every reason there is: one enum for conditions, Events, status.failure and the documentation."""

from enum import StrEnum

from speechless.contract import FailureReason


class Reason(StrEnum):
    """Why a condition has its status.

    The docstring of each is its line in the documentation: what it means, then, after an empty line, what to do. Where
    that is missing, nothing has to be done.
    """

    # How it goes
    SUSPENDED = "Suspended"
    """spec.suspend is true.

    Set spec.suspend to false to let it run.
    """
    WAITING_FOR_INPUT = "WaitingForInput"
    """Something that this resource refers to is not there or not finished; the message names it.

    Create what the message names, or correct the reference. It continues by itself.
    """
    STARTING = "Starting"
    """The pod is made, and does not run yet."""
    RUNNING = "Running"
    """The pod runs."""
    RETRYING = "Retrying"
    """An attempt failed for a cause that may pass; another one follows.

    Nothing, unless it repeats: then read the message and the pod's log.
    """
    FINISHING = "Finishing"
    """The pod ended; its result is being read."""
    QUEUED = "Queued"
    """The queueing system (Kueue) has not admitted the run yet; the message has its reason.

    Look at the LocalQueue and its quota (`kubectl get workloads`).
    """
    HELD_BY_OTHERS = "HeldByOthers"
    """Somebody else has set spec.suspend of the run's Job; it goes on when they take that back.

    Ask whoever suspended the Job, or set its spec.suspend to false.
    """
    WAITING_FOR_EARLIER = "WaitingForEarlier"
    """Something of an earlier attempt, or of an earlier resource of this name, has not gone yet.

    Wait until the pod that the message names has ended; delete it if it hangs.
    """
    RUN_AGAIN = "RunAgain"
    """The run's result was lost with its pod; the same run starts once more, and finds what was published."""
    SIDECAR_RUNNING = "SidecarRunning"
    """The stage has ended, and another container keeps its pod alive; the message names it.

    Keep the sidecar out by spec.pod.labels or spec.pod.annotations, as the mesh wants it.
    """
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
    """The revision that the Service selects has no ready pod.

    Look at the pods of the revision: `kubectl describe` and their logs.
    """
    RESOLVED = "Resolved"
    """The model's address and digest are known."""
    PINNED = "Pinned"
    """What the model came from is gone; what was resolved of it is kept in the status, and serves on."""

    # Gates
    GATES_PASSED = "GatesPassed"
    """Every gate holds."""
    GATE_FAILED = "GateFailed"
    """A number lies outside its gate; the message has the numbers.

    Improve the model, change the gate, or override it (docs/security.md).
    """
    METRIC_MISSING = "MetricMissing"
    """A gate names a metric that the evaluation did not measure.

    Correct the metric's name; the message lists what was measured.
    """
    OVERRIDDEN = "Overridden"
    """The gate is closed, and the annotation speechless.dev/gate-override opens it.

    Remove the annotation when the override is no longer wanted.
    """

    # What the user must mend
    INVALID_SPEC = FailureReason.INVALID_SPEC.value
    """The spec is wrong; the message has the field's path.

    Correct the field that the message names. A run is immutable: create another one.
    """
    UPSTREAM_FAILED = "UpstreamFailed"
    """What this resource refers to failed. It goes on when that is created again and succeeds.

    Delete the failed resource, and create it again without its mistake.
    """
    NAME_CONFLICT = "NameConflict"
    """An object of the name that a child needs exists and belongs to somebody else.

    Rename this resource, or remove the object that the message names.
    """
    NOT_ALLOWED = "NotAllowed"
    """The administrator does not allow a field's value; the message names both.

    Remove the field or use an allowed value; or ask the administrator (docs/security.md).
    """
    DEPENDENCY_CYCLE = "DependencyCycle"
    """Resources refer to each other in a circle: none of them can begin.

    Create one of them again with another reference.
    """
    CODE_EXECUTION_NOT_ALLOWED = FailureReason.CODE_EXECUTION_NOT_ALLOWED.value
    """A suite runs what the model wrote, and the operator does not allow that.

    Ask the administrator for allowCodeExecution, and set spec.allowCodeExecution.
    """

    # What stands in a pod's way
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The node cannot get the image.

    Check the image's name, the registry and the pull secrets in this namespace.
    """
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pod.

    Check the claim, the requests, nodeSelector, affinity and taints; the message has the scheduler's reasons.
    """
    POD_REFUSED = "PodRefused"
    """The API server refuses the pod: Pod Security, a policy or a webhook.

    Read the message; change spec.pod, or the policy.
    """
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota leaves no room.

    Raise the quota, lower spec.pod.resources, or wait for other runs.
    """
    CHILD_REFUSED = "ChildRefused"
    """The API server refuses an object that the operator makes.

    Read the message; often a policy, a webhook or the operator's rights.
    """
    API_ERROR = "ApiError"
    """The API server, or a webhook behind it, answers an object of this resource with an error; it is tried again.

    Check the API server and its webhooks if it lasts.
    """
    STATUS_REFUSED = "StatusRefused"
    """The API server refuses what was to be told here: the CRD is of another version, or this is a defect.

    Apply the CRDs of the operator's version; otherwise report it.
    """
    OPERATOR_ERROR = "OperatorError"
    """A defect of the operator; its log has the traceback. What runs and serves is left alone.

    Report it, with the traceback.
    """
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    """The node cannot make the container, for example because a Secret is missing.

    Create what the message names, such as a Secret, or correct its name. A model of `image://` needs containerd 2.1 or
    CRI-O 1.31 on the node.
    """
    CRASH_LOOPING = "CrashLooping"
    """The container ends again and again.

    Read the container's log.
    """

    # How a run failed, as the operator sees it
    OOM_KILLED = "OOMKilled"
    """The kernel ended the container: it used more memory than its limit.

    Raise spec.pod.resources.limits.memory, or lower batch size and length. Create the resource again.
    """
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The run took longer than spec.activeDeadlineSeconds.

    Create it again with a longer activeDeadlineSeconds; it continues from its checkpoint.
    """
    STAGE_FAILED = "StageFailed"
    """The container ended with an error and left no result.

    Read status.failure.logTail and the log.
    """
    RESULT_MISSING = "ResultMissing"
    """The Job completed twice, and no result of it could be read.

    Check whether something else ends the pods; report it if it repeats.
    """
    RESULT_REJECTED = "ResultRejected"
    """The pod's result is of another output or of other inputs than those of this run.

    Check spec.pod.image: it may be of another version.
    """

    # How a run failed, as the stage says it
    DATASET_INVALID = FailureReason.DATASET_INVALID.value
    """A row or a file of the data is wrong.

    Correct the row or file that the message names, and create the resource again.
    """
    MODEL_INVALID = FailureReason.MODEL_INVALID.value
    """The model's folder is wrong.

    Bring the complete model: config.json, safetensors, tokenizer; or one .gguf file.
    """
    DIGEST_MISMATCH = FailureReason.DIGEST_MISMATCH.value
    """An input is not what its digest says.

    Find out who changed the input. Bring the old bytes back, or name the new digest.
    """
    INPUT_NOT_FOUND = FailureReason.INPUT_NOT_FOUND.value
    """An input does not exist.

    Check the URI; a pvc:// path counts from the claim's root. Or set waitSeconds.
    """
    INPUT_FORBIDDEN = FailureReason.INPUT_FORBIDDEN.value
    """An input may not be read.

    Let user or group 65532 read it, or write the output (docs/howto/storage.md).
    """
    STORE_UNAVAILABLE = FailureReason.STORE_UNAVAILABLE.value
    """The store did not answer.

    Check the volume and its storage; it is tried again.
    """
    STORE_FULL = FailureReason.STORE_FULL.value
    """The store has no room.

    Free space or enlarge the volume (docs/howto/storage.md).
    """
    TRACKER_UNAVAILABLE = FailureReason.TRACKER_UNAVAILABLE.value
    """A tracker that the training reports to did not answer before the training began.

    Check its address and the way to it; it is tried again. Or leave it out of spec.tracking.reportTo.
    """
    OUT_OF_MEMORY = FailureReason.OUT_OF_MEMORY.value
    """The process or its GPU ran out of memory.

    More memory, or a smaller batch, length or model. Create the resource again.
    """
    LOSS_NOT_FINITE = FailureReason.LOSS_NOT_FINITE.value
    """A loss or a gradient is no number any more.

    Lower learningRate, add warmupSteps, or look for broken rows.
    """
    LOSS_DIVERGED = FailureReason.LOSS_DIVERGED.value
    """The loss rose far above where it began, and stayed there.

    Lower learningRate, or add warmupSteps.
    """
    NOTHING_SCORED = FailureReason.NOTHING_SCORED.value
    """The evaluation has no sample that counts.

    Look at the suite's data, and at what the model wrote, in the report.
    """
    PERPLEXITY_INCREASED = FailureReason.PERPLEXITY_INCREASED.value
    """The quantized model lost more than spec.verify allows.

    Choose a type with more bits, or raise maxPerplexityIncreasePercent.
    """
    INTERRUPTED = FailureReason.INTERRUPTED.value
    """The attempt was stopped.

    Nothing: another attempt continues from the checkpoint.
    """
    INTERNAL_ERROR = FailureReason.INTERNAL_ERROR.value
    """An error that the stage did not expect; the log has its traceback.

    Report it, with the traceback from the log.
    """
