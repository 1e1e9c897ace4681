"""Arguments of llama.cpp's llama-server (common/arg.cpp): which of them a service may set.

The list names what tunes it. Left out is whatever changes which model answers (--lora, --model-url, -hf,
--override-kv, --control-vector, --rope-*, --yarn-*, --chat-template, --grammar, --draft-*), names a file or an address,
sets a key, or gives the model tools of the machine (--tools, --agent, --mcp-*). How it samples where a request does not
say may be set: any client may ask for the same.
"""

_WITH_VALUE = (
    "-t", "--threads", "-tb", "--threads-batch", "-C", "--cpu-mask", "-Cr", "--cpu-range",
    "--cpu-strict", "--prio", "--poll", "-Cb", "--cpu-mask-batch", "-Crb", "--cpu-range-batch",
    "--cpu-strict-batch", "--prio-batch", "--poll-batch", "--threads-http", "--numa", "-b",
    "--batch-size", "-ub", "--ubatch-size", "-fa", "--flash-attn", "-ctk", "--cache-type-k", "-ctv",
    "--cache-type-v", "-dt", "--defrag-thold", "-cram", "--cache-ram", "-ctxcp", "--ctx-checkpoints",
    "--cache-reuse", "-sps", "--slot-prompt-similarity", "-ngl", "--gpu-layers", "--n-gpu-layers",
    "-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu", "-dev", "--device", "-ncmoe",
    "--n-cpu-moe", "-fit", "--fit", "-fitt", "--fit-target", "-lm", "--load-mode", "-to", "--timeout",
    "--sse-ping-interval", "-n", "--predict", "--n-predict", "--keep", "-s", "--seed", "--temp",
    "--temperature", "--top-k", "--top-p", "--min-p", "--typical", "--typical-p", "--repeat-last-n",
    "--repeat-penalty", "--presence-penalty", "--frequency-penalty", "--reasoning-format", "-lv",
    "--verbosity", "--log-verbosity",
)  # fmt: skip
_ALONE = (
    "-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified", "--swa-full", "--context-shift",
    "--no-context-shift", "-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "--op-offload",
    "--no-op-offload", "--repack", "-nr", "--no-repack", "--no-host", "-cmoe", "--cpu-moe", "--warmup",
    "--no-warmup", "--check-tensors", "-cb", "--cont-batching", "-nocb", "--no-cont-batching",
    "--cache-prompt", "--no-cache-prompt", "--perf", "--no-perf", "--jinja", "--log-prefix",
    "--no-log-prefix", "--log-timestamps", "--no-log-timestamps",
)  # fmt: skip
ARGUMENTS: dict[str, bool] = dict.fromkeys(_WITH_VALUE, True) | dict.fromkeys(_ALONE, False)
"""A flag that may be set, and whether a value follows it."""

RESERVED = (
    *("-m", "--model", "--host", "--port", "-a", "--alias"),
    *("-c", "--ctx-size", "-np", "--parallel", "--metrics", "--slots", "--no-slots"),
)
"""Flags that the stage sets itself, or needs as they are: it asks for the slots that are busy before it ends."""
