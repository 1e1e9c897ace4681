"""`speechless-operator`: what its command line answers."""

from pathlib import Path

import pytest

import speechless
from speechless_operator.main import main


def test_without_arguments_it_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "The Kubernetes operator of Speechless." in capsys.readouterr().out


def test_its_version_is_the_librarys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"speechless-operator {speechless.__version__}\n"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--versoin", "unknown flag --versoin; did you mean --version?"),
        ("runn", "invalid choice: 'runn'; did you mean run?"),
    ],
)
def test_an_unknown_word_is_an_error(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([word])
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--artifact-stor=x"], "unknown flag --artifact-stor; did you mean --artifact-store?"),
        (
            ["--artifact-store=ftp://host/x"],
            "--artifact-store ftp://host/x: must be `pvc://<claim>/<path>`",
        ),
        (["--artifact-store=file:///x"], "--artifact-store file:///x: must be `pvc://<claim>/<path>`"),
        (
            ["--artifact-store=s3:///x"],
            "--artifact-store s3:///x: names no bucket: write s3://<bucket>/<path>",
        ),
        (
            ["--artifact-store=pvc://a/b", "--artifact-store-secret=x"],
            "--artifact-store-secret: pvc://a/b takes no Secret: remove it",
        ),
        (["--artifact-store=pvc://a/../b"], "--artifact-store pvc://a/../b: leads out of its place"),
        (["--workers=many"], "argument --workers: not a whole number: many"),
        (["--workers=0"], "argument --workers: must be 1 or more: 0"),
        (["--burst=0"], "argument --burst: must be 1 or more: 0"),
        (["--qps=-1"], "argument --qps: must be 0 or more: -1"),
        (["--qps=nan"], "argument --qps: must be 0 or more: nan"),
        (["--resync-seconds=0"], "argument --resync-seconds: must be 1 or more: 0"),
        (["--resync-seconds=soon"], "argument --resync-seconds: not a number: soon"),
        (["--lease-name=Mine"], "argument --lease-name: not a name of an object"),
        (["--log-level=loud"], "argument --log-level: invalid choice: 'loud'"),
    ],
)
def test_a_wrong_flag_of_run_is_an_error(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["run", *flags])
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_without_a_cluster_it_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["run"]) == 1
    assert "set KUBECONFIG, or run in a pod with a service account" in capsys.readouterr().err
