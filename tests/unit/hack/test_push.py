"""`hack/push.py`: which commands it runs, in which order, and what it refuses before it runs any."""

import subprocess
import sys
from pathlib import Path

import pytest

import push
from images import IMAGES, SHIPPED
from tests.unit.layout.repository import ROOT


def printed(*argv: str) -> list[str]:
    """The commands of `--print`."""
    done = subprocess.run(
        [sys.executable, "hack/push.py", *argv, "--print"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_each_image_is_pushed_under_the_name_that_the_chart_expects() -> None:
    lines = printed("registry.example/team", "--engine", "podman", "--version", "1.2")
    pushed = [line.removeprefix("podman push ") for line in lines if line.startswith("podman push ")]
    assert sorted(pushed) == sorted(f"registry.example/team/speechless/{name}:1.2" for name in SHIPPED)
    built = [line.split("--tag ")[1].split()[0] for line in lines if line.startswith("podman build ")]
    assert set(pushed) <= set(built)
    assert len(built) == len(IMAGES)


def test_the_small_image_is_pushed_before_the_long_builds() -> None:
    lines = printed("registry.example", "--engine", "docker")
    first = next(number for number, line in enumerate(lines) if line.startswith("docker push"))
    assert "operator" in lines[first]
    assert not any("llamacpp" in line or "torch" in line for line in lines[:first])


def test_every_image_comes_after_those_it_stands_on() -> None:
    lines = printed("registry.example", "--engine", "buildah")
    seen: set[str] = set()
    for name in [line.split("--file images/")[1].split("/")[0] for line in lines if "--file" in line]:
        assert set(IMAGES[name]) <= seen
        seen.add(name)


def test_bake_has_every_image_and_is_made_from_the_table() -> None:
    assert (ROOT / push.BAKE).read_text() == push.bake_file(), "python3 hack/push.py --write-bake"
    first, second = printed("registry.example", "--engine", "buildx", "--platform", "linux/amd64,linux/arm64")
    assert first.endswith(f"--file {push.BAKE} operator")
    assert second.split(push.BAKE)[1].split() == [name for name in IMAGES if name in SHIPPED]
    assert "PLATFORMS=linux/amd64,linux/arm64" in second


@pytest.mark.parametrize("engine", push.ENGINES)
def test_building_alone_pushes_nothing(engine: str) -> None:
    assert not any("push" in line for line in printed("localhost", "--engine", engine, "--no-push"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "make images-push REGISTRY="),
        (("https://registry.example",), "without a scheme"),
        (("Registry.example",), "in lower case"),
        (("registry.example/a b",), "is no registry"),
        (("registry.example;reboot",), "is no registry"),
        (("registry.example", "nosuch"), "no image 'nosuch': there are operator"),
        (("registry.example", "--version", "a/b"), "is no tag"),
        (("registry.example", "--engine", "podman", "--print", "--platform", "a,b"), "need buildx"),
        (("registry.example", "--engine", "docker", "--print", "--plain-http"), "insecure-registries"),
        (("registry.example", "--engine", "cluster", "--print", "--platform", "linux/arm64"), "PLATFORMS"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_line(
    argv: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        push.main(argv)
    assert ended.value.code == 2
    usage, message = capsys.readouterr().err.rsplit("images-push: error: ", 1)
    assert usage.startswith("usage: make images-push")
    assert words in message
    assert message.count("\n") == 1


def test_without_an_engine_it_says_which_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        push.main(["registry.example"])
    assert "Docker, podman and buildah are not on this machine" in capsys.readouterr().err


def test_a_registry_that_refuses_is_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "buildah"
    engine.write_text('#!/bin/sh\n[ "$1" = push ] || exit 0\necho "denied: access forbidden" >&2; exit 125\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    status = push.main(
        ["registry.example", "operator", "--engine", "buildah", "--log", str(tmp_path / "logs")]
    )
    assert status == 1
    told = capsys.readouterr()
    assert "registry.example/speechless/operator:" in told.err
    assert "was not pushed: denied: access forbidden" in told.err
    assert "buildah login" in told.err
    assert "helm upgrade" not in told.out
