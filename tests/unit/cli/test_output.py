"""`-o json`: one document on standard output, all else on standard error, the same exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import speechless
from speechless import cli
from speechless.contract import Metric
from speechless.finetune.__main__ import main as finetune
from speechless.finetune.finetune import main as train
from speechless.finetune.merge_peft_adapters import main as merged
from speechless.output import Document, results
from speechless.quant import fetch
from speechless.quant.__main__ import main as quant
from speechless.tiny.__main__ import main as tiny
from tests.support.gguf import write_gguf
from tests.unit.layout.repository import ROOT


class Found(Document):
    """A document."""

    value: float | None
    """A number."""


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_what_is_printed_meanwhile_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with results("json") as out:
        print("a line for people")
        out.show(Found(value=float("nan")), "lines for people")
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"value": None}
    assert shown.err == "a line for people\n"
    print("after")
    assert capsys.readouterr().out == "after\n"


def test_text_is_as_it_always_was(capsys: pytest.CaptureFixture[str]) -> None:
    with results("text") as out:
        print("a line for people")
        out.show(Found(value=1), "lines for people")
        out.show(Found(value=1))
    assert capsys.readouterr().out == "a line for people\nlines for people\n"


@pytest.mark.parametrize(
    "words", [["-o", "json", "--version"], ["-V", "--output=json"], ["--version", "-ojson"]]
)
def test_the_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert document(capsys)["speechless"] == speechless.__version__


def test_it_stands_behind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["-o", "json", "finetune", "list"])
    assert end.value.code == 2
    assert "-o stands behind the command: speechless finetune ... -o json" in capsys.readouterr().err


def test_task_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert finetune(["list", "-o", "json"]) == 0
    assert document(capsys) == {"tasks": []}
    finetune(["init", "--task_name", "mine"])
    capsys.readouterr()
    assert cli.main(["finetune", "list", "-o", "json"]) == 0
    assert document(capsys) == {"tasks": [{"name": "mine", "folder": str(tmp_path / "mine")}]}
    with pytest.raises(SystemExit) as end:
        finetune(["run", "--task_name", "mine", "-o", "json"])
    assert end.value.code == 2
    assert "-o has no effect on run" in capsys.readouterr().err


def test_the_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"seed": 0, "steps": 500, "rows": 7000, "problems": 100}
    (tmp_path / "tiny.json").write_text(json.dumps(settings))
    assert tiny(["make", "--out", str(tmp_path), "-o", "json"]) == 0
    assert document(capsys) == {"folder": str(tmp_path), "made": False, **settings}


def test_a_run_that_is_complete_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "outputs"
    (out / "checkpoint-12" / "adapter_model").mkdir(parents=True)
    (out / "latest").symlink_to("checkpoint-12")
    (out / "completed").write_text("12\n")
    (out / "train_results.json").write_text('{"train/loss": 0.5}')
    words = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", str(out)]
    assert train([*words, "-o", "json"]) == 0
    adapter = str(out / "checkpoint-12" / "adapter_model")
    assert document(capsys) == {
        "result": adapter,
        "steps": 12,
        "trained": False,
        "metrics": {"train/loss": 0.5},
    }
    for name in ("train_results.json", "latest"):
        (out / name).unlink()
    (out / "completed").write_text("")
    assert train([*words, "-o", "json"]) == 0
    assert document(capsys) == {"result": str(out), "steps": None, "trained": False, "metrics": {}}


def test_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    found = (Metric(name="merge/max_logit_difference", value=1e-6),)
    # The real one needs torch, which is not in this environment.
    stand_in = SimpleNamespace(merge=lambda *_: found)
    monkeypatch.setitem(sys.modules, "speechless.finetune.merge", stand_in)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    words = ["--base_model_name_or_path", "base", "--lora_model_path", str(tmp_path)]
    assert merged([*words, "--merged_model_name_or_path", "out", "-o", "json"]) == 0
    assert document(capsys) == {
        "merged": "out",
        "base": "base",
        "adapter": str(tmp_path),
        "metrics": {"merge/max_logit_difference": 1e-6},
    }


def test_a_quantization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_gguf(tmp_path / "model.gguf", [("token_embd.weight", (256, 400), "F16")])
    made = write_gguf(tmp_path / "made.gguf", [("token_embd.weight", (256, 400), "Q8_0")])
    tool = tmp_path / "bin" / "llama-quantize"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\ncp "{made}" "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("SPEECHLESS_LLAMA_BIN", str(tool.parent))
    words = ["llamacpp", "--model_path", str(model), "--gguf_dir", str(tmp_path / "out")]
    assert quant([*words, "--llamacpp_quant_type", "q8_0", "-o", "json"]) == 0
    found = document(capsys)
    assert found["f16"] == str(model)
    assert found["quantized"] == str(tmp_path / "out" / "model.Q8_0.gguf")
    assert found["type"] == "Q8_0"
    assert found["metrics"]["tensors/fallback"] == 0


def test_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetch.cache_folder().mkdir(parents=True)
    assert quant(["converter", "-o", "json"]) == 0
    assert document(capsys) == {"converter": str(fetch.cache_folder())}


PROBLEM = {
    "task_id": "t/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "test": "def check(c):\n    assert c() == 1",
    "canonical_solution": "    return 1",
}


def humaneval(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "speechless.eval.humaneval", "--model", "m", "--data", "tasks.jsonl"]
    return subprocess.run(
        [*argv, "--output_dir", "out", "-o", "json", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_scores_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    (tmp_path / "out").mkdir()
    rows = [{"task_id": "t/0", "completion": f"    return {number}"} for number in (1, 2)]
    (tmp_path / "out" / "humaneval_samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    early = humaneval(tmp_path, "--show_results")
    assert (early.returncode, early.stdout) == (1, "")
    assert "Score samples first" in early.stderr

    done = humaneval(tmp_path, "--do_eval", "--show_results", "--k", "1,2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [metric["value"] for metric in found["report"]["metrics"]] == [0.5, 1.0, 2, 0]
    assert found["report"] == json.loads((tmp_path / "out" / "humaneval_report.json").read_text())
    assert found["results"] == "out/humaneval_samples.jsonl_results.jsonl"
    assert "humaneval/pass@1" in done.stderr
    assert "running 2 samples" in done.stderr
    assert "2/2 (100 %)" in done.stderr
    assert json.loads(humaneval(tmp_path, "--show_results").stdout) == found


def test_a_wrong_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        finetune(["list", "-o", "jsn"])
    assert end.value.code == 2
    assert "invalid choice: 'jsn'; did you mean json? (one of text, json)" in capsys.readouterr().err
