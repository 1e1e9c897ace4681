"""What the operator's benchmark computes: the floor's templates, the counts, the table."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.operator import server, templates
from benchmarks.operator.__main__ import parser
from benchmarks.operator.idle import percentile
from benchmarks.operator.table import Row, Table


def managed(fields: object, manager: str = templates.MANAGER, **more: str) -> dict[str, object]:
    """An entry of metadata.managedFields."""
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields, **more}


def test_a_template_has_what_the_operator_applied_and_nothing_else() -> None:
    obj = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "x",
            "namespace": "n",
            "uid": "set by the server",
            "labels": {"ours": "1", "theirs": "2"},
            "ownerReferences": [{"uid": "a", "kind": "FineTune"}, {"uid": "b", "kind": "Other"}],
            "finalizers": ["ours", "theirs"],
            "managedFields": [
                managed({"f:metadata": {"f:labels": {"f:theirs": {}}}}, manager="somebody"),
                managed({"f:status": {"f:phase": {}}}, subresource="status"),
                managed(
                    {
                        "f:metadata": {
                            "f:labels": {"f:ours": {}},
                            "f:ownerReferences": {'k:{"uid":"a"}': {}},
                            "f:finalizers": {'v:"ours"': {}},
                        },
                        "f:spec": {
                            "f:template": {
                                "f:containers": {'k:{"name":"stage"}': {".": {}, "f:name": {}, "f:args": {}}}
                            }
                        },
                    }
                ),
            ],
        },
        "spec": {
            "defaulted": 1,
            "template": {"containers": [{"name": "stage", "args": ["a"], "defaulted": 2}, {"name": "mesh"}]},
        },
        "status": {"phase": "Running", "other": 1},
    }

    assert templates.applied(obj) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "x",
            "namespace": "n",
            "labels": {"ours": "1"},
            "ownerReferences": [{"uid": "a", "kind": "FineTune"}],
            "finalizers": ["ours"],
        },
        "spec": {"template": {"containers": [{"name": "stage", "args": ["a"]}]}},
    }
    assert templates.applied(obj, "status")["status"] == {"phase": "Running"}


def test_what_the_operator_did_not_apply_is_no_template() -> None:
    obj = {"metadata": {"name": "x", "managedFields": [managed({}, manager="somebody")]}}
    with pytest.raises(LookupError, match="x: 0 entries"):
        templates.applied(obj)


def test_applies_to_our_kinds_are_the_operators_writes() -> None:
    before = Counter({("APPLY", "jobs"): 2, ("PUT", "jobs/status"): 1})
    after = Counter(
        {
            ("APPLY", "jobs"): 5,
            ("APPLY", "finetunes/status"): 6,
            ("PUT", "jobs/status"): 9,
            ("APPLY", "leases"): 4,
        }
    )
    found = server.written(before, after)
    assert found == {("APPLY", "jobs"): 3, ("APPLY", "finetunes/status"): 6}
    assert server.as_text(found, 3) == "finetunes/status 2.00, jobs 1.00"


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([1, 2, 3, 100], 50) == 2
    assert percentile([1, 2, 3, 100], 99) == 100
    assert percentile([7], 99) == 7


def test_the_table_says_what_is_not_reached() -> None:
    table = Table()
    table.add(Row("speed", "operator / floor", 1000, 1.51, "x", 1.1))
    table.add(Row("idle", "writes", 1000, 0, "", 0))
    table.add(Row("idle", "memory", 1000, 120, "MiB"))
    lines = table.text().splitlines()
    assert "1.51 x" in lines[1]
    assert "NOT REACHED" in lines[1]
    assert lines[2].split()[-1] == "reached"
    assert "reached" not in lines[3].lower()


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--only", "speed,nosuch"])
    assert "there is no part 'nosuch'; the parts: speed, idle, progress, kept" in capsys.readouterr().err
