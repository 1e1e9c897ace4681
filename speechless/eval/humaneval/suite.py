"""The suite as the evaluate stage runs it: generate, write the samples, score, write the results, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from speechless.contract import FailureReason, Metric, Suite
from speechless.errors import StageError
from speechless.eval.humaneval import samples as files
from speechless.eval.humaneval.problems import Problem, data_file, read_problems
from speechless.eval.humaneval.prompts import PromptMode, conversation, render, sample_of, stops
from speechless.eval.humaneval.score import check_reference, count, intervals, metrics, score, total
from speechless.eval.report import CodeLimits, CodeSuite, SuiteReport, sha256_of
from speechless.eval.sandbox import pool
from speechless.eval.sandbox.model import Limits
from speechless.eval.suites import Running
from speechless.generate import Completion, Generator, Sampling

TEMPLATE_TOKENS = 1024
"""Room for what a chat template or an instruction puts around a problem."""


Detail = CodeSuite


class Loaded(NamedTuple):
    """The data of a suite."""

    file: Path
    problems: list[Problem]
    """Those that the suite takes."""
    in_data: int
    """How many there are in the file."""


def load(suite: Suite, data: Path) -> Loaded:
    """Read the problems. StageError(DATASET_INVALID) names the line at fault."""
    file = data_file(data, ("*.jsonl", "*.jsonl.gz"))
    problems = read_problems(file)
    return Loaded(file, problems[: suite.limit], len(problems))


def steps(suite: Suite, loaded: Loaded) -> int:
    """A sample that is generated is one, and one that is scored."""
    return 2 * len(loaded.problems) * suite.samples_per_task


def context(suite: Suite, loaded: Loaded) -> int:
    """Room for every prompt with its completion."""
    return tokens_needed(loaded.problems, suite.max_tokens)


def tokens_needed(problems: Sequence[Problem], max_tokens: int) -> int:
    """A context that every prompt with its completion fits into: a token is a byte at least."""
    longest = max(len(problem.prompt.encode()) for problem in problems)
    return -(-(longest + max_tokens + TEMPLATE_TOKENS) // 256) * 256


def generate(
    generator: Generator,
    problems: Sequence[Problem],
    mode: PromptMode,
    sampling: Sampling,
    samples_per_task: int,
    *,
    progress: Callable[[int], None],
    stopping: Callable[[], bool],
) -> list[Completion]:
    """The model's answers: all samples of the first problem, then all of the second, and so on."""
    wanted = [problem for problem in problems for _ in range(samples_per_task)]
    if mode is PromptMode.CHAT_TEMPLATE:
        return generator.chat(
            [conversation(problem) for problem in wanted], sampling, progress=progress, stopping=stopping
        )
    return generator.complete(
        [render(problem, mode) for problem in wanted], sampling, progress=progress, stopping=stopping
    )


def run(suite: Suite, loaded: Loaded, how: Running) -> SuiteReport:
    """Generate, write the samples, score, write the results."""
    generator, problems = how.generator, loaded.problems
    assert generator is not None
    isolation, limits = pool.probe(), Limits(cpu_seconds=suite.timeout_seconds)
    reference = check_reference(problems, limits, isolation)
    mode = PromptMode.RAW
    sampling = Sampling(
        max_tokens=suite.max_tokens, temperature=suite.temperature, stop=stops(mode), seed=suite.seed
    )
    answers = generate(
        generator,
        problems,
        mode,
        sampling,
        suite.samples_per_task,
        progress=lambda done: how.progress(done, ()),
        stopping=how.stopping,
    )
    wanted = [problem for problem in problems for _ in range(suite.samples_per_task)]
    rows = [sample_of(answer.text, problem, mode) for problem, answer in zip(wanted, answers, strict=True)]
    path = how.out / "samples.jsonl"
    files.write_rows(path, rows)
    outcomes = score(
        rows,
        {problem.task_id: problem for problem in problems},
        limits,
        isolation,
        progress=lambda done: how.progress(len(rows) + done, ()),
        stopping=how.stopping,
    )
    files.write_results(path, rows, outcomes)
    per_task = count(rows, outcomes)
    empty = sum(not row["completion"].strip() for row in rows)
    if empty == len(rows):
        raise StageError(
            FailureReason.NOTHING_SCORED,
            f"suite {suite.name}: all {len(rows)} completions are empty, so there was nothing to score",
            "The prompts may not fit the model's context, or its tokenizer joins a last newline with an indent.",
        )
    scores = metrics(f"{suite.name}/", per_task, suite.k)
    scores = (*scores, Metric(name=f"{suite.name}/errors", value=empty))
    how.progress(2 * len(rows), scores)
    return SuiteReport(
        name=suite.name,
        data_name=loaded.file.name,
        data_sha256=sha256_of(loaded.file),
        generator=generator.name,
        metrics=scores,
        intervals=intervals(f"{suite.name}/", per_task, suite.k),
        detail=CodeSuite(
            prompt_mode=mode.value,
            stop=sampling.stop,
            samples_per_task=suite.samples_per_task,
            temperature=suite.temperature,
            max_tokens=suite.max_tokens,
            seed=suite.seed,
            tasks=len(problems),
            tasks_in_data=loaded.in_data,
            samples=len(rows),
            limits=CodeLimits(
                cpu_seconds=limits.cpu_seconds,
                wall_seconds=limits.wall_seconds,
                memory_bytes=limits.memory_bytes,
            ),
            isolation=isolation.as_dict(),
            outcomes=total(per_task),
            per_task=per_task,
            cut_off=sum(answer.finish_reason == "length" for answer in answers),
            empty=empty,
            reference_solutions=reference,
        ),
    )
