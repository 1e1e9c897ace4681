"""Progress over HTTP: `/progress` (JSON, what the operator polls), `/metrics` (Prometheus) and `/healthz`."""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from speechless.contract import FailureReason, Progress, ProgressPhase, StageName
from speechless.errors import StageError
from speechless.progress import Reporter

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Server:
    """Serves a reporter's state from a thread of its own until it is closed."""

    def __init__(self, listen: str, stage: StageName, reporter: Reporter) -> None:
        """Bind `host:port` (an empty host: all addresses, port 0: any free port) and start serving."""
        host, port = parse_listen(listen)
        try:
            self._http = _Http((host, port), stage, reporter)
        except (OSError, OverflowError) as error:
            what = f"cannot listen on {listen}: {getattr(error, 'strerror', None) or error}"
            raise StageError(FailureReason.INVALID_SPEC, what, "choose another port with --listen") from error
        self.port: int = self._http.server_address[1]
        """The port that was bound."""
        self._thread = threading.Thread(target=self._http.serve_forever, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def parse_listen(listen: str) -> tuple[str, int]:
    """`host:port` or `:port`; StageError(INVALID_SPEC) if it is neither."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise StageError(FailureReason.INVALID_SPEC, f"--listen {listen} is not host:port", "such as :9400")
    return host, int(port)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], stage: StageName, reporter: Reporter) -> None:
        self.stage, self.reporter = stage, reporter
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = 10
    server_version = "speechless-stage"
    sys_version = ""

    def do_GET(self) -> None:
        reporter = self.server.reporter
        path = self.path.partition("?")[0]
        if path == "/progress":
            self._answer(HTTPStatus.OK, "application/json", reporter.snapshot().to_json())
        elif path == "/metrics":
            text = exposition(self.server.stage, reporter.snapshot(), reporter.uptime())
            self._answer(HTTPStatus.OK, PROMETHEUS, text)
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, "text/plain", "ok\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there are /progress, /metrics and /healthz\n")

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Polled every few seconds: not worth a line."""


def exposition(stage: StageName, now: Progress, uptime: float) -> str:
    """The state in Prometheus' text format 0.0.4."""
    label = f'stage="{stage}"'
    lines = []

    def gauge(name: str, help_text: str, *samples: tuple[str, float]) -> None:
        lines.append(f"# HELP speechless_stage_{name} {help_text}")
        lines.append(f"# TYPE speechless_stage_{name} gauge")
        lines.extend(f"speechless_stage_{name}{{{labels}}} {value!r}" for labels, value in samples)

    gauge("progress_ratio", "Part of the work that is done, 0 to 1.", (label, now.percent / 100))
    gauge("step", "Steps done, in the stage's own unit.", (label, now.step))
    gauge("total_steps", "Steps in all; 0 while unknown.", (label, now.total_steps))
    if now.remaining_seconds is not None:
        gauge("remaining_seconds", "Seconds left at the pace so far.", (label, now.remaining_seconds))
    phases = [(f'{label},phase="{phase}"', float(phase is now.phase)) for phase in ProgressPhase]
    gauge("phase", "1 for the phase that the stage is in.", *phases)
    if now.metrics:
        values = [(f'{label},name="{_escaped(metric.name)}"', metric.value) for metric in now.metrics]
        gauge("metric", "The latest value of one of the work's own numbers.", *values)
    gauge("uptime_seconds", "Seconds since the stage began.", (label, uptime))
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
