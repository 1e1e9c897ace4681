"""Parts of a hub's datasets: configurations and splits, as `datasets` tells them, out of files that a hub serves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechless.contract import FailureReason
from speechless.data import read_rows, survey
from speechless.data.examples import Text
from speechless.data.files import Part
from speechless.data.splits import chosen, one_file
from speechless.errors import StageError
from speechless.store.words import DataPart
from tests.library import hub_server
from tests.library.hub_client import Run, client

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)
CARD = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files: socratic/rows.jsonl
---
# Sums
"""
PROBLEM = {
    "task_id": "t/1",
    "prompt": "def f():\n",
    "entry_point": "f",
    "test": "def check(candidate):\n    pass",
    "canonical_solution": "    return 1",
}


def rows(name: str, first: int, count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{name} {number}", "completion": " x"} for number in range(first, first + count)]


def write(file: Path, found: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Two configurations: `main` with a train split in two files and a test split, `socratic` with one split."""
    folder = tmp_path / "sums"
    write(folder / "main" / "train-00000-of-00002.parquet", rows("train", 0, 6))
    write(folder / "main" / "train-00001-of-00002.parquet", rows("train", 6, 4))
    write(folder / "main" / "test-00000-of-00001.parquet", rows("test", 0, 3))
    write(folder / "socratic" / "rows.jsonl", rows("socratic", 0, 2))
    (folder / "README.md").write_text(CARD)
    return folder


def prompts(folder: Path, config: str | None, split: str | None) -> list[str]:
    """The rows of a part, by their prompts."""
    found = survey(chosen(folder, DataPart(config, split), "org/sums"), seed=1)
    examples = [placed.example for placed in read_rows(found, heldout=False)]
    return [each.prompt for each in examples if isinstance(each, Text)]


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        ("main", "train", [f"train {n}" for n in range(10)]),
        ("main", "test", ["test 0", "test 1", "test 2"]),
        ("socratic", None, ["socratic 0", "socratic 1"]),
        ("socratic", "train", ["socratic 0", "socratic 1"]),
        ("main", "train[:20%]", ["train 0", "train 1"]),
        ("main", "train[5:8]", ["train 5", "train 6", "train 7"]),
        ("main", "train[-1:]+test[:1]", ["train 9", "test 0"]),
        ("main", "all", [*(f"train {n}" for n in range(10)), "test 0", "test 1", "test 2"]),
    ],
)
def test_a_part_has_its_rows_and_no_others(
    sums: Path, config: str, split: str | None, expected: list[str]
) -> None:
    assert prompts(sums, config, split) == expected


def test_it_is_what_datasets_itself_reads(sums: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    for split in ("train", "test", "train[:33%]", "train[70%:]+test"):
        theirs = load_dataset(str(sums), "main", split=split, cache_dir=str(tmp_path / "cache"))
        assert prompts(sums, "main", split) == list(theirs["prompt"])


def refused(place: Path, config: str | None, split: str | None) -> StageError:
    with pytest.raises(StageError) as caught:
        chosen(place, DataPart(config, split), "org/sums")
    assert caught.value.reason is FailureReason.DATASET_INVALID
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("config", "split", "said"),
    [
        (None, None, "org/sums: has the configurations main, socratic: name one by config"),
        (None, "train", "org/sums: has the configurations main, socratic: name one by config"),
        ("other", None, "org/sums: has no configuration other; there are: main, socratic"),
        ("main", None, "org/sums: has the splits train, test: name one by split"),
        ("main", "dev", "org/sums: has no split dev; there are: train, test"),
        ("main", "train+dev[:2]", "org/sums: has no split dev; there are: train, test"),
        ("main", "train[0:0]", "org/sums: split train[0:0] holds no row"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(
    sums: Path, config: str | None, split: str | None, said: str
) -> None:
    assert refused(sums, config, split).message == said


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train.jsonl", "test.jsonl"),
        ("train/a.jsonl", "test/b.jsonl"),
    ],
)
def test_without_a_card_the_names_of_files_tell(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        kind = "train" if "train" in name else "test"
        write(tmp_path / "d" / name, rows(kind, 0, 2))
    assert prompts(tmp_path / "d", None, "train") == ["train 0", "train 1"]
    assert prompts(tmp_path / "d", None, "test") == ["test 0", "test 1"]


def test_a_hubs_dataset_is_never_trained_on_with_its_test_split_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for name in ("train", "test"):
        write(folder / f"{name}.jsonl", rows(name, 0, 2))
    assert chosen(folder, DataPart(), "d") == (folder,), "a folder of one's own is all the files in it"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert refused(folder, None, None).message == "org/sums: has the splits train, test: name one by split"
    (folder / "test.jsonl").unlink()
    assert chosen(folder, DataPart(), "d") == (Part((folder / "train.jsonl").resolve()),)


def test_a_folder_whose_files_tell_no_split_is_all_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    write(folder / "a.jsonl", rows("a", 0, 1))
    write(folder / "b.jsonl", rows("b", 0, 1))
    assert "no dataset with splits" in refused(folder, None, "train").message
    assert "a file has no configurations and splits" in refused(folder / "a.jsonl", "main", None).message
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert chosen(folder, DataPart(), "d") == (folder,)
    assert prompts(folder, None, "train") == ["a 0", "b 0"], "as datasets has it"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("data_files: ../other.jsonl", "reads ../other.jsonl, outside the repository"),
        (
            "data_files: https://127.0.0.1:9/x.jsonl",
            "reads https://127.0.0.1:9/x.jsonl, outside the repository",
        ),
        ("data_files:\n  - {split: train, path: [/etc/passwd]}", "reads /etc/passwd, outside the repository"),
        ("data_dir: ..", "reads .., outside the repository"),
        ("data_files: a.csv\n  sep: ';'", "sets sep, which is not honoured here"),
        ("data_files: nothing*.jsonl", "no dataset that can be read: "),
        ("data_files: a.txt", "a.txt: no kind of file that is read"),
    ],
)
def test_a_card_that_cannot_be_followed(tmp_path: Path, config: str, said: str) -> None:
    folder = tmp_path / "d"
    write(folder / "train.jsonl", rows("train", 0, 1))
    for name in ("a.csv", "a.txt"):
        (folder / name).write_text("prompt;completion\na;b\n")
    write(tmp_path / "other.jsonl", rows("secret", 0, 1))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  {config}\n---\n")
    for part in (("main", None), (None, None)):
        assert said in refused(folder, *part).message


def test_a_card_that_is_no_yaml(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", rows("train", 0, 1))
    (tmp_path / "d" / "README.md").write_text("---\nconfigs: [\n---\n")
    assert "no dataset that can be read: " in refused(tmp_path / "d", None, "train").message


def test_for_an_evaluation_a_part_becomes_one_file(sums: Path, tmp_path: Path) -> None:
    file = one_file(sums, DataPart("main", "test"), "org/sums", tmp_path / "out", text=False)
    assert file.name == "main-test.jsonl"
    assert [json.loads(line) for line in file.read_text().splitlines()] == rows("test", 0, 3)
    assert one_file(sums, DataPart(), "org/sums", tmp_path / "out", text=True) == sums
    with pytest.raises(StageError, match=r"test-00000-of-00001.parquet, row 1: no text"):
        one_file(sums, DataPart("main", "test"), "org/sums", tmp_path / "out", text=True)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".txt"])
def test_a_text_is_the_rows_texts(tmp_path: Path, suffix: str) -> None:
    lines = ["One line.\n", "\n", " Another\n", "the last\n"]
    file = tmp_path / "d" / "data" / f"test-00000-of-00001{suffix}"
    if suffix == ".txt":
        file.parent.mkdir(parents=True)
        file.write_text("".join(lines))
    else:
        write(file, [{"text": line.removesuffix("\n") if at % 2 else line} for at, line in enumerate(lines)])
    made = one_file(tmp_path / "d", DataPart(None, "test"), "d", tmp_path / "out", text=True)
    assert made.read_text() == "".join(lines)
    first = one_file(tmp_path / "d", DataPart(None, "test[:1]"), "d", tmp_path / "out", text=True)
    assert first.read_text() == lines[0]


# -------------------------------------------------------------------------------------------------------- out of a hub


@pytest.fixture
def hub(sums: Path, tmp_path: Path) -> Iterator[hub_server.Hub]:
    """A hub with such datasets."""
    scripted = tmp_path / "scripted"
    write(scripted / "train.jsonl", rows("train", 0, 2))
    (scripted / "scripted.py").write_text("raise SystemExit('it was run')\n")
    corpus = tmp_path / "corpus"
    text = [{"text": f"The number {n} comes after the number {n - 1}."} for n in range(1, 200)]
    write(corpus / "data" / "test-00000-of-00001.parquet", text)
    write(corpus / "data" / "train-00000-of-00001.parquet", [{"text": "never read"}])
    problems = tmp_path / "problems"
    write(problems / "openai" / "test-00000-of-00001.parquet", [PROBLEM])
    (problems / "README.md").write_text(
        "---\nconfigs:\n- config_name: openai\n  data_files:\n  - {split: test, path: openai/test-*}\n---\n"
    )
    with hub_server.hub() as state:
        folders = {"sums": sums, "scripted": scripted, "corpus": corpus, "problems": problems}
        state.repos.update({f"org/{name}": folder for name, folder in folders.items()})
        yield state


@pytest.fixture
def run(hub: hub_server.Hub, tmp_path: Path) -> Run:
    """A program in a process of its own: the client reads its variables when it is imported."""

    return client(hub.url, tmp_path)


@pytest.mark.parametrize("word", ["org/sums", "hf://datasets/org/sums@v1"])
def test_a_command_takes_config_and_split(run: Run, hub: hub_server.Hub, word: str) -> None:
    flags = ("--dataset_config", "main", "--dataset_split", "train[:50%]")
    done = run("-m", "speechless.data", "check", word, *flags, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 5
    hub.asked.clear()
    assert run("-m", "speechless.data", "check", word, *flags, HF_HUB_OFFLINE="1").returncode == 0
    assert hub.asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["org/sums"], "org/sums: has the configurations main, socratic: name one by config"),
        (
            ["org/scripted", "--dataset_split", "train"],
            "org/scripted: its configurations and splits are made by",
        ),
        (
            ["hf://datasets/org/scripted", "--dataset_split", "train"],
            "org/scripted: its configurations and splits are made by scripted.py, a program, which is never run",
        ),
        (["org/sums", "--dataset_split", "train[:x]"], "--dataset_split: train[:x] can be none"),
    ],
)
def test_a_mistake_is_one_line(run: Run, words: list[str], said: str) -> None:
    done = run("-m", "speechless.data", "check", *words)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert said in line
    assert "it was run" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_beside_rows_is_left_alone(run: Run) -> None:
    done = run("-m", "speechless.data", "check", "org/scripted", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 2


def test_a_task_trains_on_a_split(run: Run, model: Path, tmp_path: Path) -> None:
    assert run("-m", "speechless.finetune", "init", "--task_name", "t").returncode == 0
    settings = {
        "BASE_MODEL_PATH": str(model),
        "DATASET": "org/sums",
        "DATASET_CONFIG": "main",
        "DATASET_SPLIT": "train",
        "MISC_PARAMS": "--max_steps 1",
        "MODEL_MAX_LENGTH": "64",
        "LORA_R": "4",
    }
    done = run("-m", "speechless.finetune", "run", "--task_name", "t", **settings)
    assert done.returncode == 0, done.stderr
    assert "10 rows" in done.stderr
    again = run("-m", "speechless.finetune", "run", "--task_name", "t", **settings)
    assert again.returncode == 0, again.stderr
    assert "holds a completed run" in again.stdout
    changed = run("-m", "speechless.finetune", "run", "--task_name", "t", **settings | {"LORA_R": "8"})
    assert changed.returncode == 2, "what is complete belongs to the settings that it was made with"
    assert "holds a completed run of other settings or other data (lora.r)" in changed.stderr
    other = settings | {"DATASET_SPLIT": "", "OUTPUT_DIR": "./other"}
    refusal = run("-m", "speechless.finetune", "run", "--task_name", "t", **other)
    assert refusal.returncode == 1
    assert "org/sums: has the splits train, test: name one by split" in refusal.stderr


def test_problems_are_a_split(run: Run, model: Path, tmp_path: Path) -> None:
    words = ["-m", "speechless.eval.humaneval", "--do_gen", "--model", str(model), "--max_len", "4"]
    words += ["--temperature", "0", "--output_dir", "out", "--data", "org/problems"]
    done = run(*words, "--data_config", "openai", "--data_split", "test")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "data" / "openai-test.jsonl").read_text()) == PROBLEM
    assert json.loads((tmp_path / "out" / "humaneval_samples.jsonl").read_text())["task_id"] == "t/1"
    refusal = run(*words, "--data_split", "train")
    assert refusal.returncode == 1
    assert "org/problems: has no split train; there are: test" in refusal.stderr


def test_a_text_to_verify_by_is_a_split(run: Run) -> None:
    words = ["-m", "speechless.quant", "llamacpp", "--model_path", "nothing"]
    refusal = run(*words, "--verify_text", "org/corpus", "--verify_split", "dev")
    assert refusal.returncode == 1
    assert "org/corpus: has no split dev; there are: train, test" in refusal.stderr
    assert run(*words, "--verify_split", "dev").returncode == 2
    found = run(*words, "--verify_text", "org/corpus", "--verify_split", "test")
    assert "nothing" in found.stderr.splitlines()[-1], "the text is there, and the model is looked for"


def stage(run: Run, tmp_path: Path, name: str, **spec: Any) -> dict[str, Any]:
    """Run a stage; what it says."""
    shutil.rmtree(tmp_path / "artifact", ignore_errors=True)
    told = {
        "stage": name,
        "workDir": str(tmp_path / "work"),
        "output": (tmp_path / "artifact").as_uri(),
        **spec,
    }
    (tmp_path / "spec.json").write_text(json.dumps(told))
    done = run("-m", "speechless.stage", name, "--spec", "spec.json", "--listen", "127.0.0.1:0")
    assert "Traceback" not in done.stderr, done.stderr
    return dict(json.loads(done.stdout))


def test_an_evaluation_reads_a_split(run: Run, model: Path, tmp_path: Path) -> None:
    text = {"uri": "hf://datasets/org/corpus", "split": "test[:50%]"}
    found = stage(
        run,
        tmp_path,
        "evaluate",
        model={"uri": model.as_uri()},
        suites=[{"name": "words", "type": "Perplexity", "limit": 1, "data": text}],
    )
    assert found["outcome"] == "Succeeded", found
    report = json.loads((tmp_path / "artifact" / "report.json").read_text())
    (suite,) = report["suites"]
    assert suite["data_name"] == "test-50.txt"
    missing = stage(
        run,
        tmp_path,
        "evaluate",
        model={"uri": model.as_uri()},
        suites=[{"name": "words", "type": "Perplexity", "data": text | {"split": "dev"}}],
    )
    assert missing["failure"]["reason"] == "DatasetInvalid"
    assert "has no split dev; there are: train, test" in missing["failure"]["message"]


def test_a_fine_tuning_reads_a_split_of_a_part(run: Run, model: Path, tmp_path: Path) -> None:
    """A configuration and a split, of files that patterns chose."""
    data = {"uri": "hf://datasets/org/sums@v1", "include": ["main/*"], "split": "train"}
    found = stage(
        run,
        tmp_path,
        "finetune",
        model={"uri": model.as_uri()},
        dataset=data,
        hyperparameters={"maxSteps": 1, "maxLength": 64},
        lora={"r": 4},
    )
    assert found["outcome"] == "Succeeded", found
    told = json.loads((tmp_path / "artifact" / "speechless.json").read_text())
    assert {"include": ["main/*"], "split": "train"}.items() <= told["parameters"]["dataset"].items()
    unnamed = stage(
        run,
        tmp_path,
        "finetune",
        model={"uri": model.as_uri()},
        dataset={"uri": "hf://datasets/org/sums@v1", "include": ["*.parquet"]},
    )
    assert (
        unnamed["failure"]["message"]
        == "hf://datasets/org/sums@v1: has the splits train, test: name one by split"
    )
    metrics = {metric["name"]: metric["value"] for metric in told["metrics"]}
    assert metrics["train/rows"] == 10, metrics
