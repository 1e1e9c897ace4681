"""Where each command of the documents is run: one table, a row a shape of commands.

The text of a command is what a reader types without quotes, comments and redirections (`make demo`, `X=1 make demo`); a
block of Python is `python: ` and its words. Exactly one row must fit each command, and each row some command.
"""

from __future__ import annotations

from functools import cache

from tests.docs.pages import SHELL, blocks
from tests.docs.rows import Cannot, Demo, Here, Library, Ran, Row, Step
from tests.docs.shell import Command, all_commands

_DEMO = "tests/chain/test_1_demo.py::test_the_demo_ends_with_an_answer_and_its_numbers"
_QUICKSTART = "tests/library/test_quickstart.py::test_from_nothing_to_an_answer_with_an_interruption"
_CHAIN = "tests/unit/quickstart/test_chain.py"
_CLUSTER = "tests/cluster/test_control_plane.py::test_up_twice_kill_all_down_and_nothing_is_left"
_CASES = "tests/apiserver/operator/cases"
_OUR_KIND = r"(ft|slev|slq|slis|speechless)"
_OUTPUT = r"( (-w|-o (yaml|json|wide|jsonpath=\S.*)))?"
_OTHERS = {"small": ("tuned-q8",), "<name>": ("coder",)}
"""What pages call what the demo calls otherwise."""
_TINY = {"DIR": ("DIR", "--steps", "2", "--rows", "20", "--problems", "2")}

ROWS = (
    # The chain on one machine.
    Row(r"make quickstart", Ran(_QUICKSTART)),
    Row(
        r"\w+=\S+ make quickstart",
        Ran(f"{_CHAIN}::test_what_is_exported_is_shown_and_counts_but_never_a_place"),
    ),
    Row(r"make quickstart MODEL=\S+ DATASET=\S+", Ran(f"{_CHAIN}::test_a_real_model_has_its_own_settings")),
    Row(r"python -m speechless\.tiny make --out DIR", Library(_TINY)),
    # Installing.
    Row(r"make setup", Step("setup")),
    Row(
        r"pip install -c requirements/constraints.txt \S+",
        Cannot("it downloads what is installed for minutes"),
    ),
    # Tests.
    Row(r"make test", Cannot("it is the run that this test is a part of")),
    Row(r"make (bench-operator|test-more)", Cannot("an hour, or minutes on a quiet machine: by hand")),
    Row(r"\S*python -m benchmarks\.operator --help", Here("--resources")),
    Row(
        r"\S*python -m benchmarks\.operator --only \S+ .*",
        Cannot("it measures: minutes on a quiet machine, by hand"),
    ),
    # The cluster of hack/cluster.
    Row(r"make cluster-(up|down|status|reset)", Ran(_CLUSTER)),
    Row(r"make cluster-shell", Cannot("it opens a shell for a person")),
    Row(r"PYTHONPATH=hack python3 -m cluster --help", Here("status")),
    # The demo, and what a reader looks at afterwards.
    Row(r"make (demo|demo-clean)", Ran(_DEMO)),
    Row(r"kubectl apply -f examples/demo", Ran(_DEMO)),
    Row(rf"kubectl( -n speechless-demo)? get {_OUR_KIND}\S*( [\w<>-]+)?{_OUTPUT}", Demo(_OTHERS)),
    Row(rf"kubectl -n speechless-demo describe {_OUR_KIND} \S+", Demo()),
    Row(r"kubectl( -n speechless-demo)? wait .*--for=condition=Succeeded.*", Demo()),
    Row(r"kubectl wait \S+ --for=condition=Failed .*", Cannot("the demo's runs do not fail")),
    Row(r"kubectl -n speechless-demo port-forward service/coder 8000:80", Ran(_DEMO)),
    Row(r"python: from openai import OpenAI .*client\.completions\.create.*", Ran(_DEMO)),
    # The chart, on a cluster that is there.
    Row(r"helm (upgrade --install|install) speechless charts/speechless .*", Ran(_DEMO)),
    Row(
        r"kubectl delete crd .*",
        Ran(f"{_CASES}/test_13_crd_recreated.py::test_the_kind_comes_back"),
    ),
    Row(r"python3 hack/images\.py --print docker .*", Here("docker build")),
    Row(r"docker (tag|push) .*", Cannot("needs Docker and a registry")),
    # Parts of the shell, and small programs that work on what others print.
    Row(r"wait -n|jq", Cannot("a part of the shell; it does nothing alone")),
    # What a test looks like.
    Row(r"python: def test_.*", Cannot("an example: it compiles")),
)


@cache
def documented() -> tuple[Command, ...]:
    """Every command of every page; a block of Python counts as one."""
    python = [Command(block, ("python:", *block.text.split())) for block in blocks("python")]
    return (*all_commands(blocks(*SHELL)), *python)
