"""An image is built from a Dockerfile of this repository and runs as a pod."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import pods
from tests.support.cluster import IMAGE_BUILD, Cluster
from tests.support.kube import Kube
from tests.support.wait import wait_pod

PROBE = Path(__file__).parent / "images" / "probe"

REPORT = """
    import iniconfig, importlib.metadata, pathlib, sys
    print(iniconfig.__name__, importlib.metadata.version("iniconfig"))
    print("prefix", sys.prefix)
    # A secret that was mounted in the build must not be in the image.
    conf = pathlib.Path("/etc/pip.conf")
    print("pip.conf", conf.read_text() if conf.exists() else "")
    """


def test_an_image_is_built_and_its_packages_are_there(
    cluster: Cluster, kube: Kube, namespace: str, base_image: str
) -> None:
    if not cluster.can_build():
        pytest.skip(f"building images for an existing cluster needs {IMAGE_BUILD}: see tests/README.md")
    tag = cluster.build_image("probe", PROBE / "Containerfile", PROBE, {"BASE_IMAGE": base_image})

    kube.create(pods.pod("report", namespace, pods.pod_spec(pods.container(tag, pods.python(REPORT)))))
    wait_pod(kube, "report", namespace)

    (pinned,) = re.findall(r"^iniconfig==(\S+)", (PROBE / "requirements.txt").read_text(), re.MULTILINE)
    assert kube.logs("report", namespace).splitlines() == [
        f"iniconfig {pinned}", "prefix /opt/venv", "pip.conf ",
    ]  # fmt: skip
