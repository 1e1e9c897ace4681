"""The rules of the operator's role: what the table of child kinds says, and the committed file says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechless_operator.desired.__main__ import FILE, main
from speechless_operator.desired.children import CHILDREN
from speechless_operator.desired.rbac import rules
from tests.unit.layout.repository import ROOT


def test_the_committed_file_is_fresh() -> None:
    assert main(["--check", "--root", str(ROOT)]) == 0, "run: python -m speechless_operator.desired"


def test_a_stale_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("watch", "wotch", 1))
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "run: python -m speechless_operator.desired" in capsys.readouterr().err


def test_every_child_kind_has_its_rule() -> None:
    for child in CHILDREN.values():
        assert {
            "apiGroups": [child.group],
            "resources": [child.plural],
            "verbs": list(child.verbs),
        } in rules()


def test_nothing_is_allowed_that_would_open_other_doors() -> None:
    words = {word for rule in rules() for part in rule.values() for word in part}
    assert "*" not in words
    assert (
        not {"secrets", "pods/exec", "serviceaccounts", "serviceaccounts/token", "roles", "clusterroles"}
        & words
    )
    assert not {"impersonate", "escalate", "bind", "deletecollection", "update"} & {
        verb for rule in rules() if "/finalizers" not in str(rule) for verb in rule["verbs"]
    }
