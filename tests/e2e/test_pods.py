"""Pods that really run: what they read, write, say and how they end."""

from __future__ import annotations

import json
import time

from tests.support import pods
from tests.support.kube import Kube
from tests.support.wait import wait_gone, wait_job, wait_log, wait_object, wait_pod, wait_pods

GROUP = 2000  # the group that all pods of a volume share


def test_a_job_reads_its_config_writes_its_volume_and_reports(
    kube: Kube, namespace: str, base_image: str
) -> None:
    """The shape of every stage: configuration in, a volume out, a result in the termination message."""
    script = """
        import json, os, pathlib, sys
        settings = json.loads(pathlib.Path("/etc/probe/stage.json").read_text())
        folder = pathlib.Path("/data")
        seen = sorted(path.name for path in folder.glob("by-*"))
        folder.joinpath(f"by-{os.getuid()}").write_text(settings["word"])
        try:
            pathlib.Path("/written").touch()
            root = "writable"
        except OSError:
            root = "read-only"
        result = {"uid": os.getuid(), "groups": os.getgroups(), "word": settings["word"], "seen": seen, "root": root,
                  "token": os.path.exists("/var/run/secrets/kubernetes.io")}
        pathlib.Path("/dev/termination-log").write_text(json.dumps(result))
        print("done", settings["word"])
        """
    kube.create(pods.config_map("settings", namespace, {"stage.json": json.dumps({"word": "grüß"})}))
    kube.create(pods.claim("data", namespace))
    volumes = {"data": pods.claimed("data"), "settings": pods.configured("settings")}
    main = pods.container(base_image, pods.python(script), mounts={"data": "/data", "settings": "/etc/probe"})
    results = {}
    for uid in (10001, 20002):
        name = f"as-{uid}"
        spec = pods.pod_spec(main, uid=uid, fs_group=GROUP, volumes=volumes)
        kube.create(pods.job(name, namespace, spec))
        wait_job(kube, name, namespace)
        (pod,) = wait_pods(kube, namespace, f"job-name={name}", 1)
        terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert terminated["exitCode"] == 0
        assert kube.logs(pod["metadata"]["name"], namespace) == "done grüß\n"
        results[uid] = json.loads(terminated["message"])

    for uid, result in results.items():
        assert result["uid"] == uid
        assert GROUP in result["groups"]
        assert result["word"] == "grüß"
        assert result["root"] == "read-only"
        assert result["token"] is False
    assert results[10001]["seen"] == []
    assert results[20002]["seen"] == ["by-10001"], "the second user sees what the first one wrote"


def test_a_volume_outlives_its_pod(kube: Kube, namespace: str, base_image: str) -> None:
    kube.create(pods.claim("kept", namespace))
    volumes = {"kept": pods.claimed("kept")}

    def run(name: str, script: str) -> str:
        main = pods.container(base_image, pods.python(script), mounts={"kept": "/kept"})
        kube.create(pods.pod(name, namespace, pods.pod_spec(main, fs_group=GROUP, volumes=volumes)))
        wait_pod(kube, name, namespace)
        return kube.logs(name, namespace)

    run("writer", "open('/kept/file', 'w').write('still here')")
    kube.delete("Pod", "writer", namespace)
    wait_gone(kube, "Pod", "writer", namespace)

    assert run("reader", "print(open('/kept/file').read())") == "still here\n"


def test_a_pod_sees_sigterm_and_has_its_grace_period(kube: Kube, namespace: str, base_image: str) -> None:
    script = """
        import pathlib, signal, sys, time
        def save(number, frame):
            print("told", signal.Signals(number).name)
            time.sleep(1)  # saving takes a while: the grace period must be real
            pathlib.Path("/kept/checkpoint").write_text("saved")
            sys.exit(75)
        signal.signal(signal.SIGTERM, save)
        print("ready")
        while True:
            signal.pause()
        """
    grace = 20
    kube.create(pods.claim("kept", namespace))
    volumes = {"kept": pods.claimed("kept")}
    main = pods.container(base_image, pods.python(script), mounts={"kept": "/kept"})
    kube.create(
        pods.pod("worker", namespace, pods.pod_spec(main, fs_group=GROUP, volumes=volumes, grace=grace))
    )
    wait_log(kube, "worker", namespace, "ready")

    told = time.monotonic()
    kube.delete("Pod", "worker", namespace)
    wait_log(kube, "worker", namespace, "told SIGTERM")
    wait_gone(kube, "Pod", "worker", namespace, timeout=grace + 10)
    took = time.monotonic() - told

    assert 1 <= took < grace, "it ended by itself, after it had saved and before it would be killed"
    reader = pods.container(
        base_image, pods.python("print(open('/kept/checkpoint').read())"), mounts={"kept": "/kept"}
    )
    kube.create(pods.pod("reader", namespace, pods.pod_spec(reader, fs_group=GROUP, volumes=volumes)))
    wait_pod(kube, "reader", namespace)
    assert kube.logs("reader", namespace) == "saved\n"


def test_a_pod_over_its_memory_limit_is_killed_and_says_so(
    kube: Kube, namespace: str, base_image: str
) -> None:
    script = "hoard = [b'x' * (1 << 20) for _ in range(512)]"
    main = pods.container(base_image, pods.python(script), limits={"memory": "48Mi"})
    kube.create(pods.pod("hungry", namespace, pods.pod_spec(main)))

    pod = wait_pod(kube, "hungry", namespace, "Failed")

    terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


def test_an_image_that_is_nowhere_is_told(kube: Kube, namespace: str) -> None:
    main = pods.container("localhost/speechless/no-such-image:1", ["true"])
    main["imagePullPolicy"] = "Never"
    kube.create(pods.pod("lost", namespace, pods.pod_spec(main)))

    def waits(pod: dict[str, object]) -> bool:
        return "ErrImageNeverPull" in str(pod["status"])

    wait_object(kube, "Pod", "lost", namespace, waits, "to wait for its image")
