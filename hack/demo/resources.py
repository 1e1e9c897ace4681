"""The demo's resources as they stand: read from their status, as any user could with kubectl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo.tools import NAMESPACE, Object, Tools

GROUP = "speechless.dev"
KINDS = ",".join(
    f"{plural}.{GROUP}" for plural in ("finetunes", "evaluations", "quantizations", "inferenceservices")
)
CHAIN = (
    ("Job", "inputs"),
    ("FineTune", "tuned"),
    ("Evaluation", "base"),
    ("Evaluation", "tuned"),
    ("Quantization", "tuned-q8"),
    ("Evaluation", "quantized"),
    ("InferenceService", "coder"),
)
"""In the order in which things flow."""


@dataclass(frozen=True)
class Row:
    """One resource at one moment."""

    kind: str
    name: str
    phase: str
    percent: int | None
    remaining: int | None
    message: str
    done: bool
    failed: bool
    status: dict[str, Any]

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.name}"


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of a type; empty where it is absent."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


def chain(objects: list[Object]) -> list[tuple[str, str]]:
    """The part of the chain that is among the objects."""
    found = {(each["kind"], each["metadata"]["name"]) for each in objects}
    return [each for each in CHAIN if each in found]


def read(tools: Tools, chain: Sequence[tuple[str, str]] = CHAIN) -> list[Row]:
    """Every resource of the chain; one that is not there yet is `Absent`."""
    found = {(item["kind"], item["metadata"]["name"]): item for item in tools.get(KINDS)["items"]}
    found |= {("Job", item["metadata"]["name"]): item for item in tools.get("jobs.batch")["items"]}
    return [_row(kind, name, found.get((kind, name))) for kind, name in chain]


def _row(kind: str, name: str, item: dict[str, Any] | None) -> Row:
    status = (item or {}).get("status", {})
    if item is None:
        return Row(kind, name, "Absent", None, None, "", False, False, {})
    if kind == "Job":
        done = bool(condition(status, "Complete").get("status") == "True")
        failed = bool(condition(status, "Failed").get("status") == "True")
        phase = (
            "Succeeded" if done else "Failed" if failed else "Running" if status.get("active") else "Pending"
        )
        message = (
            condition(status, "Failed").get("message", "") or "train a small base model, write its dataset"
        )
        return Row(kind, name, phase, 100 if done else None, None, message, done, failed, status)
    if (
        status.get("observedGeneration") != item["metadata"]["generation"]
    ):  # what it says is of an earlier spec
        return Row(kind, name, "Pending", None, None, "applied", False, False, {})
    progress = status.get("progress", {})
    goal = "Ready" if kind == "InferenceService" else "Succeeded"
    done = condition(status, goal).get("status") == "True"
    gate = condition(status, "GatePassed")
    # What served before serves on behind a closed gate, and is Ready: it is not what was applied now.
    done = done and gate.get("status") != "False" and not condition(status, "Reconciling")
    failed = gate.get("reason") == "GateFailed" or any(
        condition(status, kind).get("status") == "True" for kind in ("Failed", "Stalled")
    )
    return Row(
        kind,
        name,
        status.get("phase", "Pending"),
        100 if done else progress.get("percent"),
        None if done else progress.get("remainingSeconds"),
        _message(kind, status, progress, done),
        done,
        failed,
        status,
    )


def _message(kind: str, status: dict[str, Any], progress: dict[str, Any], done: bool) -> str:
    if status.get("failure"):
        return f"{status['failure']['reason']}: {status['failure']['message']}"
    if done and kind == "InferenceService":
        return str(status.get("url", ""))
    if done:
        return "  ".join(f"{m['name']} {m['value']:g}" for m in status.get("metrics", [])[:3])
    if progress.get("phase") in ("Working", "Fetching", "Publishing"):
        latest = "  ".join(f"{m['name']} {m['value']:.4g}" for m in progress.get("metrics", [])[:2])
        steps = f"{progress.get('step', 0)}/{progress['totalSteps']}" if progress.get("totalSteps") else ""
        return "  ".join(part for part in (steps, latest, progress.get("message", "")) if part)
    ready = condition(status, "Ready")
    return str(ready.get("message", "") or ready.get("reason", ""))


def metric(status: dict[str, Any], name: str) -> float | None:
    """A metric of a status, by its name."""
    return next((float(m["value"]) for m in status.get("metrics", []) if m["name"] == name), None)


def diagnosis(tools: Tools, row: Row) -> str:
    """What the resource itself says of its failure, and where to look on."""
    lines = [f"{row.title}: {row.phase}"]
    for item in row.status.get("conditions", []):
        if item["type"] in ("Failed", "Stalled", "Ready", "GatePassed", "Reconciling"):
            lines.append(f"  {item['type']}={item['status']} ({item['reason']}): {item.get('message', '')}")
    failure = row.status.get("failure") or {}
    if failure:
        lines.append(
            f"  {failure['reason']} (exit code {failure.get('exitCode', '-')}): {failure['message']}"
        )
        if failure.get("hint"):
            lines.append(f"  what to do: {failure['hint']}")
        if failure.get("logTail"):
            lines += [
                "  the end of the pod's log:",
                *(f"    {line}" for line in failure["logTail"].splitlines()),
            ]
    plural = f"{row.kind.lower()}s.{GROUP}" if row.kind != "Job" else "job"
    if row.kind == "Job":
        lines.append(tools.run("kubectl", "-n", NAMESPACE, "logs", f"job/{row.name}", "--tail=20"))
    lines.append(f"  more: kubectl -n {NAMESPACE} describe {plural} {row.name}")
    return "\n".join(lines)
