"""The last screen: what came out, in numbers."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from demo.resources import Row, metric
from demo.tools import NAMESPACE, SYSTEM


def results(rows: list[Row]) -> Table:
    """pass@1, size, perplexity and digest of the base, the tuned and the quantized model."""
    by = {(row.kind, row.name): row.status for row in rows}
    tuned, small = by["FineTune", "tuned"], by["Quantization", "tuned-q8"]
    made = Table(title="What came out", title_justify="left")
    for name in ("model", "pass@1", "size", "perplexity", "digest"):
        made.add_column(name, justify="left" if name in ("model", "digest") else "right", no_wrap=True)
    lines = (
        ("base", by["Evaluation", "base"], None, None, _input_digest(by["FineTune", "tuned"])),
        ("tuned", by["Evaluation", "tuned"], tuned, metric(small, "perplexity/before"), _digest(tuned)),
        (
            "quantized (Q8_0)",
            by["Evaluation", "quantized"],
            small,
            metric(small, "perplexity/after"),
            _digest(small),
        ),
    )
    for name, evaluation, artifact, perplexity, digest in lines:
        score = metric(evaluation, "humaneval/pass@1")
        size = (artifact or {}).get("artifact", {}).get("sizeBytes")
        made.add_row(
            name,
            "-" if score is None else f"{score:.2f}",
            "-" if size is None else f"{size / 1e6:.1f} MB",
            "-" if perplexity is None else f"{perplexity:.3f}",
            digest[:19] if digest else "-",
        )
    return made


def _digest(status: dict[str, Any]) -> str:
    return str(status.get("artifact", {}).get("digest", ""))


def _input_digest(status: dict[str, Any]) -> str:
    return next((str(i.get("digest", "")) for i in status.get("inputs", []) if i["name"] == "model"), "")


def where_next(console: Console, instance: str | None) -> None:
    """What to look at, as commands to copy. None: a cluster that was there before."""
    console.print("\nWhere to look next", style="bold")
    end = "CLUSTER=current" if instance is None else f"NAME={instance}"
    for command in (
        *([] if instance is None else [f"make cluster-shell NAME={instance}"]),
        f"kubectl -n {NAMESPACE} get ft,slev,slq,slis",
        f"kubectl -n {NAMESPACE} get finetune tuned -o yaml  # inputs, metrics, provenance",
        f"kubectl -n {NAMESPACE} get events --sort-by=.lastTimestamp",
        "kubectl explain finetune.spec",
        f"kubectl -n {SYSTEM} logs deployment/speechless-operator",
        f"make demo-clean {end}  # the cluster stays",
    ):
        # To be copied: the terminal may wrap it, a line break of ours would cut it in two.
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)
