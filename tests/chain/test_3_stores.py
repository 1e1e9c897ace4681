"""The chain with nothing on a volume: a model of a hub, data in a bucket, and every artifact back into the bucket.

And the same with all of it in a registry. A model in an image is mounted, and one that cannot be is told.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chain.conftest import CLAIM, INSTANCE, NAMESPACE, Demo, conditions, ended, holds
from tests.library.hub_server import COMMIT
from tests.support import registry, s3
from tests.support.beside import inside, running
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.ports import free_port
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(900)
Make = Callable[..., dict[str, Any]]
PUT = """
import os
from pathlib import Path
from speechless.contract import Format
from speechless.store import ManifestFields, store_for
os.environ |= {environment}
for name, form in (("base", Format.HUGGING_FACE), ("train.jsonl", Format.DATASET), ("text.txt", Format.DATASET)):
    uri = "{root}/" + name.split(".")[0]
    made = store_for(uri).publish(Path("/artifacts/inputs", name), uri, ManifestFields(format=form))
    print(made.artifact.digest)
"""


@dataclass(frozen=True)
class Places:
    """What was put where."""

    server: s3.Server
    digests: list[str]
    """Of the base model, the rows and a text."""


@pytest.fixture
def address(demo: Demo, kube: Kube) -> str:
    """The node's, which pods reach."""
    (node,) = kube.list("Node")
    return str(next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"))


@pytest.fixture
def quantized(demo: Demo, kube: Kube) -> Path:
    """The folder of the demo's quantized artifact, on its volume."""
    made = kube.get("Quantization", "tuned-q8", NAMESPACE)["status"]["artifact"]["uri"]
    volume = kube.get("PersistentVolumeClaim", CLAIM, NAMESPACE)["spec"]["volumeName"]
    spec = kube.get("PersistentVolume", volume)["spec"]
    claim = (spec.get("local") or spec["hostPath"])["path"]
    return Path(claim, made.removeprefix(f"pvc://{CLAIM}/"))


@pytest.fixture
def places(
    address: str, kube: Kube, in_volume: Callable[..., str], quantized: Path, tmp_path: Path
) -> Iterator[Places]:
    """A server of buckets with the demo's inputs, a hub with its models, and a Secret for each."""
    with ExitStack() as stack:
        server = stack.enter_context(s3.serving(tmp_path, before=inside(INSTANCE), listen=address))
        server.bucket("inputs")
        server.bucket("artifacts")
        told = in_volume(
            "put",
            PUT.format(root="s3://inputs", environment=server.environment()),
            "localhost/speechless/train:dev",
        )
        port = free_port()
        hub = [sys.executable, "-m", "tests.library.hub_server", address, str(port)]
        models = [f"org/base={server.folder / 'inputs' / 'base'}", f"org/small={quantized}"]
        argv = [*inside(INSTANCE), *hub, *models]

        def listens() -> bool:
            with socket.socket() as knock:
                return knock.connect_ex((address, port)) == 0

        stack.enter_context(running(argv, tmp_path / "hub.log", listens))
        endpoint = f"http://{address}:{port}"
        for name, data in (
            ("bucket", {k: v for k, v in server.environment().items() if k.startswith("AWS_")}),
            ("hub", {"HF_TOKEN": "good", "HF_ENDPOINT": endpoint}),
            ("wrong", {"HF_TOKEN": "bad", "HF_ENDPOINT": endpoint}),
        ):
            secret(kube, stack, name, data)
        yield Places(server, told.split())


def secret(kube: Kube, stack: ExitStack, name: str, data: dict[str, str], kind: str = "Opaque") -> None:
    """A Secret for as long as the stack lasts."""
    metadata = {"name": name, "namespace": NAMESPACE}
    kube.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data}
    )
    stack.callback(kube.delete, "Secret", name, NAMESPACE)


@pytest.fixture
def registered(address: str, kube: Kube, in_volume: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """A registry with the demo's inputs, which wants the password of the Secret `registry`: its `host:port`."""
    port = free_port()
    host = f"{address}:{port}"
    account = {"REGISTRY_USERNAME": registry.USER, "REGISTRY_PASSWORD": registry.PASSWORD}
    login = registry.password_file(tmp_path)
    auths = {host: {"username": registry.USER, "password": registry.PASSWORD}}
    docker = {".dockerconfigjson": json.dumps({"auths": auths}), "REGISTRY_PLAIN_HTTP": "true"}
    with ExitStack() as stack:
        stack.enter_context(registry.serving(INSTANCE, tmp_path, port, login=login, listen=address))
        environment = account | {"REGISTRY_PLAIN_HTTP": "true"}
        root = f"oci://{host}/inputs"
        in_volume("push", PUT.format(root=root, environment=environment), "localhost/speechless/train:dev")
        secret(kube, stack, "registry", docker, "kubernetes.io/dockerconfigjson")
        yield host


def source(uri: str, secret: str) -> dict[str, Any]:
    return {"uri": uri, "secretRef": {"name": secret}}


def await_served(kube: Kube, name: str) -> None:
    """Until an InferenceService is Ready."""
    wait_for(
        lambda: holds(kube.get("InferenceService", name, NAMESPACE), "Ready"),
        f"InferenceService {name} to be ready",
        timeout=300,
        describe=lambda: json.dumps(kube.get("InferenceService", name, NAMESPACE).get("status")),
    )


def test_a_model_of_a_hub_is_trained_measured_quantized_and_served_by_a_bucket(
    places: Places, make: Make, kube: Kube
) -> None:
    output = source("s3://artifacts/store", "bucket")
    make(
        "FineTune",
        "tuned",
        "from-hub",
        model=source("hf://org/base@v1", "hub"),
        dataset=source("s3://inputs/train", "bucket"),
        output=output,
        hyperparameters={"maxSteps": 6, "perDeviceTrainBatchSize": 4, "maxLength": 128},
        checkpoints={"everySteps": 3},
    )
    suite = {
        "name": "text",
        "type": "Perplexity",
        "data": source("s3://inputs/text", "bucket"),
        "limit": 2,
    }
    tuned, small = {"fineTune": {"name": "from-hub"}}, {"quantization": {"name": "in-bucket"}}
    make("Quantization", "tuned-q8", "in-bucket", model=tuned, output=output, verify=None)
    make(
        "Evaluation", "tuned", "of-bucket", model=tuned, output=output, suites=[suite], gates=[],
        allowCodeExecution=False,
    )  # fmt: skip
    make("InferenceService", "coder", "of-bucket", model=small, gate=None)
    trained = ended(kube, "FineTune", "from-hub")
    assert holds(trained, "Succeeded"), trained["status"].get("failure")
    inputs = {entry["name"]: entry for entry in trained["status"]["inputs"]}
    assert inputs["model"]["revision"] == COMMIT
    assert inputs["model"]["digest"] == places.digests[0], (
        "the same model has the same digest from each scheme"
    )
    assert inputs["dataset"]["digest"] == places.digests[1]
    uri = trained["status"]["artifact"]["uri"]
    assert uri.startswith(f"s3://artifacts/store/{NAMESPACE}/finetune/from-hub/")
    folder = places.server.folder / uri.removeprefix("s3://")
    manifest = json.loads((folder / "speechless.json").read_text())
    assert manifest["digest"] == trained["status"]["artifact"]["digest"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "no claim, no checkpoint is left"
    for kind, name in (("Quantization", "in-bucket"), ("Evaluation", "of-bucket")):
        done = ended(kube, kind, name)
        assert holds(done, "Succeeded"), done["status"].get("failure")
        assert done["status"]["artifact"]["uri"].startswith("s3://artifacts/store/")
    await_served(kube, "of-bucket")


def test_a_model_of_a_hub_is_served(places: Places, make: Make, kube: Kube) -> None:
    model = source("hf://org/small@v1", "hub") | {"include": ["*.gguf"]}
    make("InferenceService", "coder", "of-hub", model=model, gate=None)
    await_served(kube, "of-hub")


def test_all_of_it_in_a_registry(registered: str, make: Make, kube: Kube) -> None:
    def inputs(name: str) -> dict[str, Any]:
        return source(f"oci://{registered}/inputs/{name}", "registry")

    output = source(f"oci://{registered}/store", "registry")
    tuned, small = {"fineTune": {"name": "from-registry"}}, {"quantization": {"name": "in-registry"}}
    make(
        "FineTune", "tuned", "from-registry", model=inputs("base"), dataset=inputs("train"), output=output,
        hyperparameters={"maxSteps": 6, "perDeviceTrainBatchSize": 4, "maxLength": 128},
        checkpoints={"everySteps": 3},
    )  # fmt: skip
    make("Quantization", "tuned-q8", "in-registry", model=tuned, output=output, verify=None)
    suite = {"name": "text", "type": "Perplexity", "data": inputs("text"), "limit": 2}
    make(
        "Evaluation", "tuned", "of-registry", model=tuned, output=output, suites=[suite], gates=[],
        allowCodeExecution=False,
    )  # fmt: skip
    make("InferenceService", "coder", "of-registry", model=small, gate=None)
    trained = ended(kube, "FineTune", "from-registry")
    assert holds(trained, "Succeeded"), trained["status"].get("failure")
    uri = trained["status"]["artifact"]["uri"]
    assert uri.startswith(f"oci://{registered}/store/{NAMESPACE}/finetune/from-registry:")
    (model,) = [entry for entry in trained["status"]["inputs"] if entry["name"] == "model"]
    assert model["revision"].startswith("sha256:")
    for kind, name in (("Quantization", "in-registry"), ("Evaluation", "of-registry")):
        done = ended(kube, kind, name)
        assert holds(done, "Succeeded"), done["status"].get("failure")
        assert done["status"]["artifact"]["uri"].startswith(f"oci://{registered}/store/")
    await_served(kube, "of-registry")


@pytest.fixture
def image(cluster: Cluster, quantized: Path, tmp_path: Path) -> str:
    """An image with the demo's quantized artifact in its folder `models`: nothing else is in it, and nothing runs."""
    shutil.copytree(quantized, tmp_path / "models")
    file = tmp_path / "Containerfile"
    file.write_text("FROM scratch\nCOPY models /models\n")
    return cluster.build_image("test-model", file, tmp_path, {})


def test_a_model_in_an_image_is_mounted_and_served(image: str, make: Make, kube: Kube) -> None:
    """The node mounts the image, and the service reads its model there."""
    make("InferenceService", "coder", "of-image", model={"uri": f"image://{image}/models"}, gate=None)
    await_served(kube, "of-image")
    (pod,) = kube.list("Pod", NAMESPACE, labels="speechless.dev/name=of-image,speechless.dev/revision")
    volume = {"image": {"reference": image, "pullPolicy": "IfNotPresent"}, "name": "image-0"}
    assert volume in pod["spec"]["volumes"]


def test_an_image_that_cannot_be_mounted_is_told(make: Make, kube: Kube) -> None:
    model = {"uri": "image://127.0.0.1:9/nobody/nothing:v1/models"}
    make("InferenceService", "coder", "no-image", model=model, gate=None)

    def told() -> str:
        return str(conditions(kube.get("InferenceService", "no-image", NAMESPACE)).get("Ready", {}))

    wait_for(lambda: "ImagePullFailed" in told(), "the image to be refused", timeout=120, describe=told)
    assert "127.0.0.1:9/nobody/nothing:v1" in told()


@pytest.mark.parametrize(
    ("name", "model", "reason", "said"),
    [
        (
            "gated",
            source("hf://org/base@v1", "wrong"),
            "InputForbidden",
            "org/base@v1: the repository is gated",
        ),
        ("no-such-tag", source("hf://org/base@v9", "hub"), "InputNotFound", "no branch, tag or commit 'v9'"),
        ("nothing", source("s3://inputs/nothing", "bucket"), "InputNotFound", "nothing is there"),
        (
            "other-keys",
            source("s3://inputs/base", "hub"),
            "InputForbidden",
            "has none of the keys that s3:// knows",
        ),
    ],
)
def test_a_source_that_cannot_be_had_is_told(
    places: Places, make: Make, kube: Kube, name: str, model: dict[str, Any], reason: str, said: str
) -> None:
    make("FineTune", "tuned", name, model=model, dataset=source("s3://inputs/train", "bucket"))
    done = ended(kube, "FineTune", name)
    assert done["status"]["failure"]["reason"] == reason
    assert said in done["status"]["failure"]["message"]
    assert conditions(done)["Ready"]["reason"] == reason
