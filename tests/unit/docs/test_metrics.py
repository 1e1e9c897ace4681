"""Every metric that the page names exists, and every metric of the operator is on the page."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from speechless.api.metrics import Metrics
from speechless.contract import Metric, Progress, ProgressPhase, StageName
from speechless.stage.server import exposition
from speechless_operator.runtime.health import ResourceCollector
from speechless_operator.runtime.metrics import REGISTRY
from speechless_operator.runtime.tally import Tally
from tests.unit.docs.pages import page

PAGE = "howto/metrics.md"


def families(registry: CollectorRegistry | Collector) -> set[str]:
    """The names of a registry's metrics as they are scraped, without those of a histogram's parts."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()
    }


def of_the_operator() -> set[str]:
    return families(REGISTRY) | families(ResourceCollector(Tally(), lambda: True))


def of_stages() -> set[str]:
    now = Progress(
        phase=ProgressPhase.WORKING, remaining_seconds=1, metrics=(Metric(name="loss", value=1.0),)
    )
    return set(re.findall(r"^# TYPE (\w+) ", exposition(StageName.FINETUNE, now, 1.0), re.MULTILINE))


def named(text: str) -> set[str]:
    """What a text names: the metrics of this project, without the ends of a histogram's parts."""
    found = re.findall(r"\bspeechless_(?!operator\.)\w+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def test_every_metric_on_the_page_exists() -> None:
    known = of_the_operator() | of_stages() | families(Metrics().registry)
    assert named(page(PAGE)) - known == set()


def test_every_metric_of_operator_and_stages_is_on_the_page() -> None:
    assert (of_the_operator() | of_stages()) - named(page(PAGE)) == set()


def test_a_name_that_is_none_is_caught() -> None:
    assert named("sum(speechless_operator_nothing_total)") - of_the_operator() == {
        "speechless_operator_nothing_total"
    }
