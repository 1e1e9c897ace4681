"""The suite as the evaluate stage runs it: generate, write the samples, score, write the results, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from speechless.contract import FailureReason, Metric, Suite
from speechless.errors import StageError
from speechless.eval.humaneval import samples as files
from speechless.eval.humaneval.problems import Problem, data_file, read_problems
from speechless.eval.humaneval.prompts import PromptMode, conversation, render, sample_of, stops
from speechless.eval.humaneval.score import check_reference, count, metrics, score, total
from speechless.eval.report import CodeLimits, CodeSuite, SuiteReport, sha256_of
from speechless.eval.sandbox.model import Isolation, Limits
from speechless.generate import Completion, Generator, Sampling

TEMPLATE_TOKENS = 1024
"""Room for what a chat template or an instruction puts around a problem."""


def load(suite: Suite, data: Path) -> tuple[Path, list[Problem], int]:
    """The data file, the problems that the suite takes, and how many there are in the file."""
    file = data_file(data, ("*.jsonl", "*.jsonl.gz"))
    problems = read_problems(file)
    return file, problems[: suite.limit], len(problems)


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


def run(
    suite: Suite,
    data: Path,
    out: Path,
    generator: Generator,
    isolation: Isolation,
    *,
    progress: Callable[[int, tuple[Metric, ...]], None],
    stopping: Callable[[], bool],
) -> SuiteReport:
    """Run one suite; `progress` gets steps (a sample generated or scored is one) and the metrics so far."""
    file, problems, in_data = load(suite, data)
    limits = Limits(cpu_seconds=suite.timeout_seconds)
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
        progress=lambda done: progress(done, ()),
        stopping=stopping,
    )
    wanted = [problem for problem in problems for _ in range(suite.samples_per_task)]
    rows = [sample_of(answer.text, problem, mode) for problem, answer in zip(wanted, answers, strict=True)]
    path = out / "samples.jsonl"
    files.write_rows(path, rows)
    outcomes = score(
        rows,
        {problem.task_id: problem for problem in problems},
        limits,
        isolation,
        progress=lambda done: progress(len(rows) + done, ()),
        stopping=stopping,
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
    progress(2 * len(rows), scores)
    return SuiteReport(
        name=suite.name,
        data_name=file.name,
        data_sha256=sha256_of(file),
        generator=generator.name,
        metrics=scores,
        detail=CodeSuite(
            prompt_mode=mode.value,
            stop=sampling.stop,
            samples_per_task=suite.samples_per_task,
            temperature=suite.temperature,
            max_tokens=suite.max_tokens,
            seed=suite.seed,
            tasks=len(problems),
            tasks_in_data=in_data,
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
