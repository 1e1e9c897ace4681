"""What is typed in tests of the trainer's flags."""

import pytest

from speechless.finetune.flags import parse

NEEDED = ["--model_name_or_path", "m", "--dataset", "d.jsonl"]


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line on standard error for flags that are refused."""
    with pytest.raises(SystemExit) as caught:
        parse([*NEEDED, *argv])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error
