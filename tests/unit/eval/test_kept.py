"""Samples are kept as they come, ranges come together, and nothing is overwritten."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from speechless.eval.__main__ import main
from speechless.eval.humaneval import commands
from speechless.eval.humaneval.kept import Kept, block_size, blocks
from speechless.eval.humaneval.problems import Problem
from speechless.generate import Completion, Sampling

PROBLEMS = [
    Problem(task_id=f"t/{number}", prompt=f"def f{number}():\n", entry_point=f"f{number}", test="")
    for number in range(7)
]


def row(number: int, **more: str) -> dict[str, str]:
    return {"task_id": f"t/{number}", "completion": "    pass", **more}


@pytest.mark.parametrize(
    ("start", "end", "done", "told"),
    [
        (0, None, [], [(0, 3), (3, 3), (6, 1)]),
        (2, 5, [], [(2, 1), (3, 2)]),
        (0, None, [0, 1, 4], [(2, 1), (3, 1), (5, 1), (6, 1)]),
        (0, 99, range(7), []),
    ],
)
def test_blocks_lie_at_the_same_places(
    start: int, end: int | None, done: Sequence[int], told: list[tuple[int, int]]
) -> None:
    there = Counter(f"t/{number}" for number in done)
    made = list(blocks(PROBLEMS, start, end, there, size=3))
    assert [(place, len(block)) for place, block in made] == told
    assert all(PROBLEMS[place] is block[0] for place, block in made)


@pytest.mark.parametrize(
    ("batch", "n", "batches", "size"), [(16, 1, 1, 16), (16, 1, 4, 64), (16, 10, 1, 8), (1, 5, 1, 1)]
)
def test_a_blocks_samples_fill_batches(batch: int, n: int, batches: int, size: int) -> None:
    assert block_size(batch, n, batches=batches) == size
    assert size * n % batch == 0


def test_what_is_torn_or_incomplete_is_made_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {"seed": 1})
    assert not kept.begin(2)
    kept.record({})
    kept.add([row(0), row(0), row(1), row(1), row(2)])
    with kept.path.open("a") as file:
        file.write('{"task_id": "t/3", "compl')
    assert kept.begin(2) == {"t/0": 2, "t/1": 2}
    assert len(kept.path.read_text().splitlines()) == 4


def test_samples_that_were_made_otherwise_are_moved_aside(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        kept = Kept(tmp_path, {"seed": seed})
        assert kept.move_aside() == (tmp_path / f"humaneval_samples.{seed - 1}.jsonl" if seed > 1 else None)
        assert not kept.begin(1)
        kept.record({})
        kept.add([row(seed)])
        assert kept.move_aside() is None
    assert json.loads((tmp_path / "humaneval_samples.1.jsonl").read_text())["task_id"] == "t/1"
    assert json.loads((tmp_path / "humaneval_generation.2.json").read_text()) == {"seed": 2}
    # As earlier versions left them: nobody knows what they were made with.
    (tmp_path / "humaneval_generation.json").unlink()
    assert kept.move_aside() == tmp_path / "humaneval_samples.3.jsonl"


def _add(out: str, numbers: Sequence[int]) -> None:
    kept = Kept(Path(out), {"seed": 1})
    for number in numbers:
        kept.begin(20)
        kept.add([row(number, all_code="x" * 500)] * 20)


def test_ranges_may_be_made_at_the_same_time(tmp_path: Path) -> None:
    Kept(tmp_path, {"seed": 1}).record({})
    context = multiprocessing.get_context("spawn")
    parts = [range(first, 40, 4) for first in range(4)]
    processes = [context.Process(target=_add, args=(str(tmp_path), part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    rows = [json.loads(line) for line in (tmp_path / "humaneval_samples.jsonl").read_text().splitlines()]
    assert Counter(row["task_id"] for row in rows) == {f"t/{number}": 20 for number in range(40)}


class Writer:
    """A generator that answers with its seeds, and stops after so many calls."""

    name, versions = "hf", dict[str, str]()

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        assert not stopping()
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        progress(len(prompts))
        return [
            Completion(f"    return {sampling.seed + place}", 1, 1, "length") for place in range(len(prompts))
        ]

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_why: object) -> None:
        pass


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "task_id": problem.task_id,
            "prompt": problem.prompt,
            "entry_point": problem.entry_point,
            "test": "def check(c):\n    pass",
            "canonical_solution": "    return 1",
        }
        for problem in PROBLEMS
    ]
    Path("tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("model").mkdir()
    Path("model", "config.json").write_text('{"model_type": "llama"}')
    return ["humaneval", "--model", "model", "--data", "tasks.jsonl", "--output_dir", "out", "--do_gen"]


def made(monkeypatch: pytest.MonkeyPatch, words: list[str], calls: int = 99) -> dict[str, list[str]]:
    """Run the command with a writer; the samples, by problem."""
    with monkeypatch.context() as patched:
        patched.setattr(commands, "_generator", lambda *_: Writer(calls))
        assert main(words) == 0
    found: dict[str, list[str]] = {}
    for line in Path("out/humaneval_samples.jsonl").read_text().splitlines():
        told: dict[str, Any] = json.loads(line)
        found.setdefault(told["task_id"], []).append(told["completion"])
    return found


SIZES = ["--n_samples", "2", "--gen_batch_size", "4", "--temperature", "0.5", "--seed", "100"]


def test_a_stop_and_ranges_end_with_the_samples_of_one_run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words += SIZES
    first = made(monkeypatch, words)
    assert [answer for answers in first.values() for answer in answers] == [
        f"    return {seed}" for seed in range(100, 114)
    ]
    told = json.loads(Path("out/humaneval_generation.json").read_text())
    assert (told["cut_off"], told["samples_per_task"]) == (14, 2)

    Path("out").rename("whole")
    with pytest.raises(KeyboardInterrupt):
        made(monkeypatch, words, calls=2)
    assert len(Path("out/humaneval_samples.jsonl").read_text().splitlines()) == 8, "two blocks were kept"
    capsys.readouterr()
    assert made(monkeypatch, words) == first
    assert "8 of 14 samples are there already" in capsys.readouterr().out

    Path("out").rename("stopped")
    for part in (["--start_index", "4"], ["--end_index", "2"], ["--start_index", "1", "--end_index", "5"]):
        found = made(monkeypatch, [*words, *part])
    assert found == first


def test_another_model_in_the_same_place_is_another_run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(monkeypatch, words)
    Path("model", "config.json").write_text('{"model_type": "llama", "tuned": true}')
    made(monkeypatch, words, calls=1)
    assert "are now out/humaneval_samples.1.jsonl" in capsys.readouterr().out
    made(monkeypatch, words, calls=0)
    assert "7 of 7 samples are there already" in capsys.readouterr().out
    made(monkeypatch, [*words, "--restart"], calls=1)
    assert "earlier samples are now out/humaneval_samples.2.jsonl" in capsys.readouterr().out
    told = json.loads(Path("out/humaneval_generation.2.json").read_text())
    assert (
        told["model_digest"]
        != json.loads(Path("out/humaneval_generation.1.json").read_text())["model_digest"]
    )


def test_a_model_that_is_gone_is_told_before_anything_is_moved(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(monkeypatch, words)
    before = sorted(Path("out").iterdir())
    assert main([word if word != "model" else "gone" for word in words]) == 1
    assert sorted(Path("out").iterdir()) == before
