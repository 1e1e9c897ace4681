"""MLflow: a run on a tracking server (https://mlflow.org/docs/latest/rest-api.html)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import JsonValue

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.trackers.base import End, Logged, Wanted

VARIABLE, EXPERIMENT = "MLFLOW_TRACKING_URI", "speechless"
_STATES = {End.FINISHED: "FINISHED", End.FAILED: "FAILED", End.INTERRUPTED: "KILLED"}
_DEFAULTS = {
    # MLflow's own, 7 tries of 120 s each, would hide for minutes that a server is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Words to its makers, beside those to the server.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Standard output is the result's.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_METRICS = 1000
"""That the server takes at once."""


def missing(environment: Mapping[str, str], folder: Path | None) -> str:
    """The server has to be named."""
    return "" if environment.get(VARIABLE) else f"name the server by {VARIABLE}"


def connect(wanted: Wanted) -> _Run:
    """Begin a run, or go on in it."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient()
        return _Run(client, _again(client, wanted) or _begin(client, wanted))
    except MlflowException as error:
        raise _problem(error) from None


def _again(client: Any, wanted: Wanted) -> str:
    """The run to go on in, which then runs; empty: there is none."""
    from mlflow.exceptions import MlflowException

    run = wanted.before or os.environ.get("MLFLOW_RUN_ID", "")
    if run:
        try:
            client.update_run(run, status="RUNNING")
        except MlflowException as error:
            if not wanted.before or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""  # somebody has removed it
    return run


def _begin(client: Any, wanted: Wanted) -> str:
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            experiment = client.create_experiment(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name).experiment_id  # another run was faster
    else:
        experiment = found.experiment_id
    run: str = client.create_run(experiment, run_name=wanted.name or None).info.run_id
    client.log_batch(run, params=[Param(key, value) for key, value in _flat(wanted.settings)])
    return run


def _flat(settings: Mapping[str, JsonValue], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings as parameters: names with dots, values as text."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)


def _problem(error: Any) -> StageError:
    """What the server, or the way to it, says: once more may help, but not against a refusal."""
    place = urlsplit(os.environ[VARIABLE])
    # A password may stand in the address.
    where = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()
    status = error.get_http_status_code()
    if status in (401, 403):
        what = f"tracker MLflow at {where} refuses this run (HTTP {status})"
        hint = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return StageError(FailureReason.INVALID_SPEC, what, hint)
    why = str(error).strip().partition("\n")[0].rpartition("Caused by ")[2][:300]
    what = f"tracker MLflow at {where} cannot be reported to: {why}"
    return StageError(FailureReason.TRACKER_UNAVAILABLE, what, "try again when it answers, or leave it out")


class _Run:
    """A run of a server."""

    def __init__(self, client: Any, run: str) -> None:
        self.run = self.where = run
        self._client = client

    def log(self, logged: Sequence[Logged]) -> None:
        """Send values; the server keeps one that comes twice once."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(when * 1000), step)
            for step, when, values in logged
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self.run, metrics=metrics[start : start + _METRICS])

    def end(self, how: End) -> None:
        """Say how it ended."""
        self._client.set_terminated(self.run, _STATES[how])
