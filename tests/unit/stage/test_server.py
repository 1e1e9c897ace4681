"""Progress over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from speechless.contract import FailureReason, Metric, Progress, ProgressPhase, StageName
from speechless.errors import StageError
from speechless.progress import Reporter
from speechless.progress.display import Lines
from speechless.stage.server import Server, exposition, parse_listen


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(Lines())


@pytest.fixture
def server(reporter: Reporter) -> Iterator[Server]:
    server = Server("127.0.0.1:0", StageName.FINETUNE, reporter)
    yield server
    server.close()


def get(server: Server, path: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_progress_is_the_contracts_json(server: Server, reporter: Reporter) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(3, 12, {"loss": 1.5})
    status, kind, body = get(server, "/progress")
    assert (status, kind) == (200, "application/json")
    assert Progress.model_validate_json(body) == reporter.snapshot()
    assert json.loads(body)["totalSteps"] == 12


def test_metrics_are_in_prometheus_format(server: Server, reporter: Reporter) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(3, 12, {"loss": 1.5})
    status, kind, body = get(server, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'speechless_stage_progress_ratio{stage="finetune"} 0.25\n' in body
    assert 'speechless_stage_step{stage="finetune"} 3\n' in body
    assert 'speechless_stage_total_steps{stage="finetune"} 12\n' in body
    assert 'speechless_stage_metric{stage="finetune",name="loss"} 1.5\n' in body
    assert 'speechless_stage_phase{stage="finetune",phase="Working"} 1.0\n' in body
    assert 'speechless_stage_phase{stage="finetune",phase="Fetching"} 0.0\n' in body


def test_a_parser_of_prometheus_accepts_them() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    now = Progress(
        phase=ProgressPhase.WORKING,
        percent=50,
        remaining_seconds=5,
        metrics=(Metric(name='a"b\\c\nd', value=1e-9),),
    )
    families = {
        one.name: one for one in parser.text_string_to_metric_families(exposition(StageName.FETCH, now, 1.5))
    }
    assert families["speechless_stage_metric"].samples[0].labels["name"] == 'a"b\\c\nd'
    assert families["speechless_stage_metric"].samples[0].value == 1e-9
    assert len(families["speechless_stage_phase"].samples) == len(ProgressPhase)


def test_health_and_unknown_paths(server: Server) -> None:
    assert get(server, "/healthz")[::2] == (200, "ok\n")
    assert get(server, "/nothing")[0] == 404


def test_a_port_in_use_is_told(server: Server, reporter: Reporter) -> None:
    with pytest.raises(
        StageError, match=f"cannot listen on 127.0.0.1:{server.port}: Address already in use"
    ) as caught:
        Server(f"127.0.0.1:{server.port}", StageName.FETCH, reporter)
    assert caught.value.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize("listen", ["9400", "localhost", ":", ":x", ":-1"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(StageError, match="is not host:port"):
        parse_listen(listen)
