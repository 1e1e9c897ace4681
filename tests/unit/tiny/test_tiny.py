"""The tiny tasks, without a model."""

import json
import random
import re
from pathlib import Path

import pytest

from speechless.tiny import make, sets, text
from speechless.tiny.__main__ import main
from speechless.tiny.tasks import HELDOUT, SEEN, completion, every_task, prompt, sample

ROWS = sets.training_rows(3000, seed=0)
PROBLEMS = sets.heldout_problems(100, seed=0)


def test_the_solution_of_every_task_gives_its_answers() -> None:
    values = {"x": [-60, -1, 0, 7, 200], "xs": [[5, -3, 8, 12, 0, 7, -10], list(range(-20, 100, 7))]}
    for task in every_task():
        scope: dict[str, object] = {}
        exec(prompt(task, "f") + completion(task), scope)
        for value in values[task.argument]:
            try:
                expected = task.answer(value)
            except ValueError:
                continue
            assert scope["f"](value) == expected, prompt(task, "f")  # type: ignore[operator]


def test_every_problem_is_solved_by_its_solution_and_by_no_constant() -> None:
    for problem in PROBLEMS:
        scope: dict[str, object] = {}
        exec(problem["prompt"] + problem["canonical_solution"] + problem["test"], scope)
        scope["check"](scope[problem["entry_point"]])  # type: ignore[operator]
        answers = [line.rpartition(" == ")[2] for line in problem["test"].splitlines()[1:]]
        assert len(answers) == sets.TESTS
        for answer in answers:
            exec(f"{problem['prompt']}    return {answer}\n", scope)
            with pytest.raises(AssertionError):
                scope["check"](scope[problem["entry_point"]])  # type: ignore[operator]


def test_problems_have_the_format_of_humaneval() -> None:
    assert [problem["task_id"] for problem in PROBLEMS] == [f"Tiny/{number}" for number in range(100)]
    assert {tuple(problem) for problem in PROBLEMS} == {
        ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    }
    assert len({problem["prompt"].partition("\n")[2] for problem in PROBLEMS}) == 100


def test_what_is_held_out_is_nowhere_else() -> None:
    sentences = {task.sentence for task in every_task() if task.heldout}
    bodies = {completion(task).strip() for task in every_task() if task.heldout}
    known = {completion(task).strip() for task in every_task() if not task.heldout}
    assert len(sentences) > 150
    assert len(bodies - known) > 100
    rng = random.Random(0)
    read = [line for _ in range(20_000) for line in text.document(rng).splitlines()]
    trained = [line for row in ROWS for line in (row["prompt"] + row["completion"]).splitlines()]
    for line in read + trained:
        assert line.strip(' "') not in sentences
        # Two tasks can have one body: `x * 2` for every number, and `x * 2` of a number.
        assert line.strip() not in bodies - known


def test_the_base_model_never_reads_a_sentence_above_its_code() -> None:
    rng = random.Random(1)
    for _ in range(5000):
        document = text.document(rng)
        assert not re.search(r'"""Return ', document)
        assert not ("Return the" in document and "def " in document)


def test_problems_and_text_are_of_held_out_tasks() -> None:
    held = {task.sentence for task in every_task() if task.heldout}
    for source in (sets.perplexity_text(seed=0), *(problem["prompt"] for problem in PROBLEMS)):
        for sentence in re.findall(r'"""(.*)"""', source):
            assert sentence in held


def test_about_a_fifth_of_the_tasks_is_held_out() -> None:
    held, seen = (sum(map(len, pool.values())) for pool in (HELDOUT, SEEN))
    assert 0.12 < held / (held + seen) < 0.25


def test_a_seed_decides_everything() -> None:
    assert sets.training_rows(3000, seed=0) == ROWS
    assert sets.training_rows(3000, seed=1) != ROWS
    assert sets.heldout_problems(10, seed=0) == PROBLEMS[:10]
    assert [text.document(random.Random(5)) for _ in range(3)] == [text.document(random.Random(5))] * 3
    assert sample(random.Random(1), SEEN) == sample(random.Random(1), SEEN)


def test_more_problems_than_there_are_end_with_a_message() -> None:
    with pytest.raises(
        ValueError, match=r"there are [0-9]+ held-out problems; 1000 were asked for"
    ) as refused:
        sets.heldout_problems(1000, seed=0)
    most = int(refused.value.args[0].split()[2])
    assert 150 < most == len(sets.heldout_problems(most, seed=0))


def test_what_is_made_already_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps({"seed": 0, "steps": 500, "rows": 7000, "problems": 100}))
    assert main(["make", "--out", str(tmp_path)]) == 0
    assert "is made already" in capsys.readouterr().out
    assert main(["make", "--out", str(tmp_path), "--seed", "1"]) == 1
    assert "made by other settings" in capsys.readouterr().err


def test_what_a_user_put_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.jsonl").write_text("mine")
    assert main(["make", "--out", str(tmp_path)]) == 1
    assert "remove it first" in capsys.readouterr().err
    assert (tmp_path / "train.jsonl").read_text() == "mine"


def test_wrong_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["make", "--out", "x", "--steps", "0"])
    assert caught.value.code == 2
    assert "--steps" in capsys.readouterr().err
    assert set(make.PRESETS) == {"full", "quick", "small"}
