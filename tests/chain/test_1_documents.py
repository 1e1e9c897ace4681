"""What the pages tell a reader to look at, on the demo."""

from __future__ import annotations

import pytest

from tests.chain.conftest import Demo
from tests.docs.rows import Demo as OnDemo
from tests.docs.rows import Row, chosen, on_demo
from tests.docs.shell import Command
from tests.docs.table import ROWS, documented
from tests.support.cluster import Cluster

pytestmark = pytest.mark.timeout(2400)
CHOSEN = chosen(documented(), ROWS, OnDemo)


@pytest.mark.parametrize(("command", "row"), CHOSEN, ids=[str(command) for command, _ in CHOSEN])
def test_it_shows_something(demo: Demo, cluster: Cluster, command: Command, row: Row) -> None:
    # What succeeded has no failure to show.
    assert cluster.run(*on_demo(command, row)).strip() or "status.failure" in command.text
