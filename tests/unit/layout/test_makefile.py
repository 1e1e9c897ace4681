"""The Makefile: its help lists every target, documents name only targets that exist, a wrong name is told."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.layout.repository import ROOT, texts

MAKEFILE = (ROOT / "Makefile").read_text()


def targets(makefile: str) -> set[str]:
    """The targets that a Makefile defines by name."""
    return set(re.findall(r"(?m)^([a-z][a-z0-9_-]*):(?!=)", makefile))


def listed(help_text: str) -> dict[str, str]:
    """What a help text lists: target -> its line."""
    return dict(re.findall(r"(?m)^  ([a-z][a-z0-9_-]*) {2,}(\S.*)$", help_text))


def mentioned(markdown: str) -> set[str]:
    """The targets that a document's code calls: `make X` inline, or lines of a fenced block that begin with it."""
    fenced = re.findall(r"(?ms)^```.*?^```", markdown)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", markdown))
    lines = [line.strip() for code in [*fenced, *inline] for line in code.splitlines()]
    return {match[1] for line in lines if (match := re.match(r"(?:\$ |sudo )?make ([a-z][a-z0-9_-]*)", line))}


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)


def test_help_is_the_default_and_lists_every_target() -> None:
    answer = make()
    assert answer.returncode == 0
    assert set(listed(answer.stdout)) == targets(MAKEFILE)


def test_a_target_without_words_is_caught() -> None:
    assert targets("a: ## Do a\nb: a\nc := 1\n.PHONY: x\n") - set(listed("  a   Do a\n")) == {"b"}


def test_documents_name_only_targets_that_exist() -> None:
    documents = {name: text for name, text in texts().items() if name.endswith(".md")}
    unknown = {name: mentioned(text) - targets(MAKEFILE) for name, text in documents.items()}
    assert {name: names for name, names in unknown.items() if names} == {}


def test_a_target_that_a_document_names_is_found() -> None:
    markdown = "Say `make cluster-up NAME=x`, or make sense.\n\n```console\n$ make test\nmake lint\n```\n"
    assert mentioned(markdown) == {"cluster-up", "test", "lint"}


@pytest.mark.parametrize("given", ["exported", "argument"])
@pytest.mark.parametrize("target", ["humaneval", "humaneval_chatlm", "humaneval_show_results", "api_server"])
def test_a_model_is_named_by_an_exported_or_a_given_variable(
    target: str, given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = f"{tmp_path}/a model/"
    monkeypatch.delenv("TEST_MODEL_PATH", raising=False)
    answer = make(target)
    assert answer.returncode == 2
    assert f"make {target} TEST_MODEL_PATH=..." in answer.stderr
    if given == "exported":
        monkeypatch.setenv("TEST_MODEL_PATH", model)
    # What would be run is printed, by a shell that has make's environment.
    shell = tmp_path / "sh"
    shell.write_text('#!/bin/sh\necho "$TEST_MODEL_PATH|$HUMANEVAL_OUTPUT_DIR|$2"\n')
    shell.chmod(0o755)
    answer = make(target, f"SHELL={shell}", *([f"TEST_MODEL_PATH={model}"] if given == "argument" else []))
    last = answer.stdout.splitlines()[-1]
    assert last.startswith(f"{model}|eval_results/human_eval/")
    assert '--model "$TEST_MODEL_PATH"' in last


@pytest.mark.parametrize("given", ["default", "exported", "argument"])
@pytest.mark.parametrize(
    ("target", "task", "base"),
    [
        ("finetune_mistral_7b", "mistral_7b", "/models/mistralai/Mistral-7B-v0.2-hf"),
        ("finetune_34b", "34b", "/models/codellama/CodeLlama-34b-hf"),
    ],
)
def test_an_example_task_has_a_base_model_that_can_be_another(
    target: str, task: str, base: str, given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BASE_MODEL_PATH", "TASK_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELS_ROOT_DIR", "/models")
    if given == "exported":
        monkeypatch.setenv("BASE_MODEL_PATH", "/mine")
    shell = tmp_path / "sh"
    shell.write_text('#!/bin/sh\necho "$BASE_MODEL_PATH|$2"\n')
    shell.chmod(0o755)
    answer = make(target, f"SHELL={shell}", *(["BASE_MODEL_PATH=/mine"] if given == "argument" else []))
    init, run = answer.stdout.splitlines()[-2:]
    wanted = base if given == "default" else "/mine"
    assert init.startswith(f"{wanted}|")
    assert f'init --task_name "${{TASK_NAME:-{task}}}"' in init
    assert run.startswith(f"{wanted}|")
    assert f'run --task_name "${{TASK_NAME:-{task}}}"' in " ".join(run.split())
    planned = make(target, f"SHELL={shell}", "DRY_RUN=1").stdout.splitlines()[-1]
    assert planned.split("speechless.finetune")[1].split()[:3] == ["run", "--dry-run", "--task_name"]


@pytest.mark.parametrize("word", ["nonsense", "tests", "operator"])
def test_an_unknown_target_is_told(word: str) -> None:
    answer = make(word)
    assert answer.returncode == 2
    assert f"there is no target '{word}'; 'make help' lists the targets" in answer.stderr
