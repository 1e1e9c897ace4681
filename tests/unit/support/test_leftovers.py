"""Which control groups count as left over by a cluster."""

import pytest

from tests.cluster.leftovers import of_another_program

ROOTS = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"}
BEFORE = {"cgroup /sys/fs/cgroup/memory", "cgroup /sys/fs/cgroup/memory/system.slice"}


@pytest.mark.parametrize(
    ("line", "anothers"),
    [
        ("cgroup /sys/fs/cgroup/memory/system.slice/session-5.scope", True),
        ("cgroup /sys/fs/cgroup/memory/system.slice/session-5.scope/below", True),
        ("cgroup /sys/fs/cgroup/memory/left", False),
        ("cgroup /sys/fs/cgroup/memory/left/below", False),
        ("mount /sys/fs/cgroup/memory/system.slice/session-5.scope", False),
    ],
)
def test_a_group_inside_one_that_was_there_is_its_owners(line: str, anothers: bool) -> None:
    assert of_another_program(line, BEFORE, ROOTS) == anothers
