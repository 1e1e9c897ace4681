"""A Deployment answers through its Service, by name."""

from __future__ import annotations

from tests.support import pods
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for, wait_pod

PORT = 8080

# Answers only after a while, as a server that loads a model does: the Service must not send anyone before.
SERVER = """
    import http.server, os, time
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from " + os.uname().nodename.encode())
    time.sleep(1)
    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
    """

# kube-proxy writes a node's rules up to a second after the EndpointSlice (its minSyncPeriod), and refuses connections
# to a Service without endpoints until then. The first answer may take a while; after it, each name must answer at once.
CLIENT = """
    import sys, time, urllib.error, urllib.request
    def answer(url):
        return urllib.request.urlopen(url, timeout=10).read().decode()
    until = time.monotonic() + 30
    while True:
        try:
            answer(sys.argv[1])
            break
        except urllib.error.URLError as problem:
            if not isinstance(problem.reason, ConnectionRefusedError) or time.monotonic() > until:
                raise
            time.sleep(0.2)
    for url in sys.argv[1:]:
        print(answer(url))
    """


def test_a_deployment_answers_through_its_service(kube: Kube, namespace: str, base_image: str) -> None:
    ready = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1}
    server = pods.container(base_image, pods.python(SERVER), ports=[PORT], readiness=ready)
    kube.create(pods.service("web", namespace, port=80, target=PORT))
    kube.create(pods.deployment("web", namespace, pods.pod_spec(server), replicas=2))
    wait_condition(kube, "Deployment", "web", namespace, "Available")
    names = {pod["metadata"]["name"] for pod in kube.list("Pod", namespace, labels=f"{pods.APP}=web")}

    def endpoints() -> bool:
        slices = kube.list("EndpointSlice", namespace, labels="kubernetes.io/service-name=web")
        ready = [e for s in slices for e in s["endpoints"] or [] if e["conditions"].get("ready")]
        return len(ready) == 2

    wait_for(endpoints, "both pods behind the Service")
    urls = ["http://web/", f"http://web.{namespace}.svc.cluster.local/"]
    client = pods.container(base_image, pods.python(CLIENT, *urls))
    kube.create(pods.pod("client", namespace, pods.pod_spec(client)))
    wait_pod(kube, "client", namespace)

    answers = kube.logs("client", namespace).splitlines()
    assert len(answers) == len(urls)
    assert {answer.removeprefix("hello from ") for answer in answers} <= names
