"""`speechless-operator`: what its command line answers."""

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
        ("--versoin", "unknown argument --versoin; did you mean --version?"),
        ("run", "unknown argument run (see"),
    ],
)
def test_an_unknown_word_is_an_error(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([word])
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
