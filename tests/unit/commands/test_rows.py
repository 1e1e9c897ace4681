"""The table: what no row fits, what two fit, and a row without a command are told."""

from tests.docs.pages import Block
from tests.docs.rows import Cannot, Demo, Here, Row, chosen, on_demo, unplaced, unused
from tests.docs.shell import Command


def command(text: str) -> Command:
    """A command of a page."""
    return Command(Block("docs/p.md", 7, "console", ""), tuple(text.split()))


MAKE, DOCKER = Row(r"make \w+", Here()), Row(r"docker .*", Cannot("needs Docker and a registry"))


def test_a_command_without_a_row_is_named_with_its_place() -> None:
    assert unplaced([command("make a"), command("make a b")], [MAKE]) == [
        "docs/p.md:7: make a b\n    no row fits"
    ]


def test_a_command_with_two_rows_is_named() -> None:
    (found,) = unplaced([command("make a")], [MAKE, Row(r"make a.*", Here())])
    assert found.endswith(r"more than one row fits: make \w+  and  make a.*")


def test_a_row_whose_command_is_gone_is_named() -> None:
    assert unused([command("make a")], [MAKE, DOCKER]) == ["docker .*"]


def test_commands_are_chosen_by_where_they_run() -> None:
    assert [
        each.text for each, _ in chosen([command("make a"), command("docker b")], [MAKE, DOCKER], Here)
    ] == ["make a"]


def test_on_the_demo_a_command_gets_its_namespace_and_does_not_watch() -> None:
    row = Row(r"kubectl .*", Demo({"small": ("tuned-q8",)}))
    assert on_demo(command("kubectl get slq small -w"), row) == [
        "kubectl",
        "-n",
        "speechless-demo",
        "get",
        "slq",
        "tuned-q8",
    ]
    assert on_demo(command("kubectl -n x get ft"), row) == ["kubectl", "-n", "x", "get", "ft"]
