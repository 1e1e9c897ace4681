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
_STORES = (
    "tests/chain/test_3_stores.py::test_a_model_of_a_hub_is_trained_measured_quantized_and_served_by_a_bucket"
)
_QUICKSTART = "tests/library/test_quickstart.py::test_from_nothing_to_an_answer_with_an_interruption"
_WORDS = "tests/library/test_words.py"
_EXPERTS = "tests/library/test_experts.py::test_a_task_directory_trains_and_merges_them"
_OBJECTIVE = "tests/library/test_train.py::test_the_commands_and_the_resource_of_an_objectives_page"
_CHAIN = "tests/unit/quickstart/test_chain.py"
_CURRENT = "tests/chain/test_1_demo.py::test_the_same_command_runs_on_the_cluster_that_kubectl_speaks_to"
_REGISTRY = "tests/e2e/test_registry.py::test_the_operator_runs_from_a_registry"
_COMPLETION = "tests/unit/cli/test_completion.py::test_bash_completes"
_CLUSTER = "tests/cluster/test_control_plane.py::test_up_twice_kill_all_down_and_nothing_is_left"
_CRDS = "tests/unit/operator/test_crd_files.py::test_the_committed_files_are_fresh"
_CASES = "tests/apiserver/operator/cases"
_OUR_KIND = r"(ft|slev|slq|slis|speechless)"
_OUTPUT = r"( (-w|-o (yaml|json|wide|jsonpath=\S.*)))?"
_OTHERS = {"small": ("tuned-q8",), "<name>": ("coder",)}
"""What pages call what the demo calls otherwise."""
_LITTLE = ("--steps", "2", "--rows", "20", "--problems", "2")
_TINY = {"DIR": ("DIR", *_LITTLE), "small": ("small", *_LITTLE)}

ROWS = (
    # The chain on one machine.
    Row(r"make quickstart", Ran(_QUICKSTART)),
    Row(
        r"\w+=\S+ make quickstart",
        Ran(f"{_CHAIN}::test_what_is_exported_is_shown_and_counts_but_never_a_place"),
    ),
    Row(r"make quickstart MODEL=\S+ DATASET=\S+", Ran(f"{_CHAIN}::test_a_real_model_has_its_own_settings")),
    Row(r"python -m speechless\.tiny make --out \S+.*", Library(_TINY)),
    # A page that goes step by step, with that model.
    Row(r"export( (?!AWS_)\w+=\S+)+", Library()),
    Row(r"export( AWS_\w+=\S+)+", Cannot("keys of the reader's")),
    Row(r"python -m speechless\.finetune moe --task_name \w+", Ran(_EXPERTS)),
    Row(r"python -m speechless\.finetune (init|run|merge) --task_name \w+( --dry-run)?", Library()),
    Row(
        r"python -m speechless\.finetune run -f \S+ --claims \S+",
        Ran("tests/library/test_manifest.py::test_the_demos_manifest_is_trained_and_merged_here"),
    ),
    Row(r"python -m speechless\.data check (?!s3:|oci:)\S+ .*", Library()),
    Row(r"python -m speechless\.data check \w+\.jsonl", Ran(_OBJECTIVE)),
    Row(
        r"python -m speechless\.finetune\.finetune --model_name_or_path base (?!.*--report_to).*",
        Ran(_OBJECTIVE),
    ),
    Row(r"python: import torch .*AutoModelForSequenceClassification.*", Ran(_OBJECTIVE)),
    Row(
        r"python: from transformers import Trainer .*",
        Ran("tests/library/test_train_custom.py::test_the_trainer_of_the_page"),
    ),
    Row(
        r"python -m speechless\.finetune\.finetune .* --report_to tensorboard",
        Ran("tests/library/test_trackers.py::test_all_is_what_is_set_up_and_the_result_holds_no_times"),
    ),
    Row(
        r"python -m speechless\.data check (s3|oci):\S+ .*",
        Ran(f"{_WORDS}::test_lengths_are_told_in_a_buckets_models_tokens"),
    ),
    Row(r"python -m speechless\.eval\.humaneval --model \S+ --data \S+ .*", Library()),
    Row(
        r"python -m speechless\.eval\.humaneval --model (s3|oci):\S+",
        Ran(f"{_WORDS}::test_a_buckets_model_is_scored_on_a_buckets_problems"),
    ),
    Row(r"python -m speechless\.generate --model fix/merged .*", Library()),
    Row(r"python -m speechless\.quant (converter|llamacpp .*)", Library()),
    Row(
        r"python -m speechless\.api\.server start --model \S+ --port 5077 --host 127\.0\.0\.1",
        Library(ready="http://127.0.0.1:5077/health"),
    ),
    Row(r"curl -s http://127\.0\.0\.1:5077/\S+ .*", Library()),
    # Installing.
    Row(r"make setup", Step("setup")),
    Row(
        r"pip install -c requirements/constraints.txt \S+",
        Cannot("it downloads what is installed for minutes"),
    ),
    Row(r"poetry install --extras \S+", Cannot("it downloads what is installed for minutes")),
    Row(r"(PIP_\w+=\S+ )*pip (wheel|install) --constraint .*", Cannot("it downloads packages for minutes")),
    Row(r"(mkdir -p|echo source) ~/\S+", Cannot("it writes into the reader's home")),
    Row(r"(eval \$\()?speechless(-operator)? --print-completion \w+\)?", Ran(_COMPLETION)),
    # Tests.
    Row(r"make test", Cannot("it is the run that this test is a part of")),
    Row(r"make (bench-operator|test-more)", Cannot("an hour, or minutes on a quiet machine: by hand")),
    Row(r"\S*python -m benchmarks\.operator --help", Here("--resources")),
    Row(r"\S*python -m benchmarks\.store --help", Here("--megabytes")),
    Row(r"\S*python -m benchmarks\.train --help", Here("--trl-defaults")),
    Row(r"\S*python -m benchmarks\.train --steps .*", Cannot("it measures: minutes, by hand")),
    Row(r"\S*python -m benchmarks\.store --megabytes .*", Cannot("it measures: minutes, by hand")),
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
    Row(rf"kubectl( -n speechless-demo)? describe {_OUR_KIND} \S+", Demo()),
    Row(r"kubectl( -n speechless-demo)? wait .*--for=condition=(Succeeded|Ready).*", Demo()),
    Row(r"kubectl get storageclass", Demo()),
    Row(r"kubectl wait \S+ --for=condition=Failed .*", Cannot("the demo's runs do not fail")),
    Row(r"kubectl( -n speechless-demo)? port-forward service/coder 8000:80", Ran(_DEMO)),
    Row(r"curl -s http://127\.0\.0\.1:8000/v1/completions .*", Ran(_DEMO)),
    # The tutorial's other pages, in a namespace of the reader's.
    Row(r"kubectl create namespace demo", Ran(_STORES)),
    Row(r"kubectl config set-context --current .*", Cannot("it changes the reader's kubeconfig")),
    Row(r"kubectl( -n demo)? create secret generic (bucket|hub) .*", Ran(_STORES)),
    Row(r"kubectl create secret docker-registry registry .*", Cannot("a registry of the reader's")),
    Row(r"docker login registry\.example", Cannot("a registry of the reader's")),
    Row(r"kubectl apply -f tuned\.yaml", Ran(_STORES)),
    Row(r"kubectl apply -f (claim|load)\.yaml", Cannot("a volume and a registry of the reader's")),
    Row(r"kubectl wait job/load .*", Cannot("a hub and a registry of the reader's")),
    Row(r"python: from openai import OpenAI .*client\.completions\.create.*", Ran(_DEMO)),
    # The chart, on a cluster that is there.
    Row(r"helm (upgrade --install|install) speechless charts/speechless .*", Ran(_DEMO)),
    Row(
        r"kubectl delete crd .*",
        Ran(f"{_CASES}/test_13_crd_recreated.py::test_the_kind_comes_back"),
    ),
    Row(r"helm upgrade speechless charts/speechless .*", Ran(_DEMO)),
    Row(r"kubectl -n speechless-system rollout status .*", Ran(_DEMO)),
    # Images and the demo on a cluster that was there before.
    Row(r"make images-push( \w+=\S+)+", Ran(_REGISTRY)),
    Row(r"python3 hack/push\.py registry\.example/team .*", Ran(_REGISTRY)),
    Row(r"make demo CLUSTER=current( (?!MODEL)\w+=\S+)+", Ran(_CURRENT)),
    Row(
        r"make demo CLUSTER=current .*MODEL=\S+ .*",
        Ran("tests/unit/hack/test_demo.py::test_make_passes_on_what_it_is_told"),
    ),
    Row(r"(eval \$\()?(kind|k3d|minikube) .*", Cannot("it needs a Docker engine")),
    Row(
        r"python -m speechless\.store (fetch|publish) .*",
        Ran("tests/store/test_commands.py::test_what_is_published_is_fetched_again"),
    ),
    Row(
        r"python -m speechless\.store cache .*",
        Ran("tests/store/test_cache.py::test_the_cache_is_listed_cleared_and_checked"),
    ),
    Row(r"kubectl -n demo (exec|cp|delete) .*", Cannot("needs a model of the reader's")),
    # Parts of the shell, and small programs that work on what others print.
    Row(r"wait -n|jq", Cannot("a part of the shell; it does nothing alone")),
    Row(r"jq -r .*|sort -u", Cannot("jq is not among the tests' tools")),
    # What a contributor writes, and runs afterwards.
    Row(r"\.venv/bin/python -m speechless_operator\.crd", Ran(_CRDS)),
    Row(r"\.venv/bin/python hack/lint\.py", Step("lint")),
    Row(r"\.venv/bin/pytest tests/unit", Step("unit")),
    Row(r"python -m speechless\.stage evaluate --spec spec\.json .*", Cannot("the suite is an example")),
    Row(
        r"python: (\( SuiteKind|from typing import Literal .*class Detail).*",
        Ran("tests/unit/eval/test_extending.py::test_the_suite_of_the_page_runs_and_its_report_is_read"),
    ),
    # What a test looks like.
    Row(r"python: def test_.*", Cannot("an example: it compiles")),
)


@cache
def documented() -> tuple[Command, ...]:
    """Every command of every page; a block of Python counts as one."""
    python = [Command(block, ("python:", *block.text.split())) for block in blocks("python")]
    return (*all_commands(blocks(*SHELL)), *python)
