"""A FineTune manifest trained here: the file that is applied to a cluster, by the same settings.

`pvc://NAME/path` is what the cluster mounts; here a folder stands for the claim. What is about pods has no effect here,
and is said so.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from speechless.arguments import did_you_mean
from speechless.contract import METHODS, FineTuneSettings, Lora, Qlora, Source
from speechless.contract.dataset import DatasetSource
from speechless.contract.finetune import FineTuneSpec
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import Tracking
from speechless.entry import need
from speechless.errors import words_of
from speechless.finetune.flags import Flags
from speechless.finetune.job import Extras
from speechless.store.words import DataPart

API, KIND = "speechless.dev/v1alpha1", "FineTune"
CLUSTER_ONLY = (
    "activeDeadlineSeconds",
    "backoffLimit",
    "output",
    "pod",
    "queueName",
    "suspend",
    "ttlSecondsAfterFinished",
)
"""Fields of a FineTune's spec that are about its run in a cluster."""
REFERENCES = ("fineTune", "quantization")
"""Fields of `model` that name another resource."""
_CLUSTER_ONLY_SOURCE = ("secretRef", "waitSeconds")
_REFUSED_SOURCE = ("digest", "include", "exclude")


class Wrong(Exception):  # noqa: N818 - the line for the user
    """What is wrong with a manifest."""


def run(given: Namespace) -> int:
    """Train by `given.file`, and merge where it says so; the exit status."""
    from speechless.finetune.finetune import run_flags

    try:
        name, spec = read(given.file)
        claims = claims_of(given.claims or ())
        flags, notes = flags_of(name, spec, claims)
    except (Wrong, OSError) as error:
        print(f"speechless finetune: {words_of(error)}", file=sys.stderr)
        return 2 if isinstance(error, Wrong) else 1
    for note in notes:
        print(f"speechless finetune: {given.file}: {note}", file=sys.stderr)
    flags = flags._replace(
        output_dir=given.output_dir or flags.output_dir,
        restart=given.restart,
        dry_run=given.dry_run,
        output=given.output,
    )
    merges = METHODS[flags.method].adapters and spec.get("merge", True) and not given.dry_run
    status = run_flags(flags)
    return _merge(flags) if status == 0 and merges else status


def read(file: Path) -> tuple[str, dict[str, Any]]:
    """The name and the spec of the one FineTune in a file. Wrong says what it is instead."""
    need("yaml")
    import yaml

    try:
        found = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Wrong(f"{file}: no YAML: {' '.join(str(error).split())[:300]}") from None
    ours = [each for each in found if isinstance(each, dict) and each.get("kind") == KIND]
    if len(ours) != 1:
        raise Wrong(f"{file}: {len(ours)} of the kind {KIND}; one is run")
    (made,) = ours
    if made.get("apiVersion") != API:
        raise Wrong(f"{file}: apiVersion is {made.get('apiVersion')!r}, not {API}")
    metadata, spec = made.get("metadata"), made.get("spec")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise Wrong(f"{file}: metadata.name: a name in small letters, digits and hyphens is needed")
    if not isinstance(spec, dict):
        raise Wrong(f"{file}: spec is missing")
    return name, spec


def claims_of(words: Sequence[str]) -> dict[str, Path]:
    """Folders by the claims that they stand for."""
    found = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not name or not equals or not Path(folder).is_dir():
            raise Wrong(f"--claims {word}: NAME=DIR, of a folder that is there")
        found[name] = Path(folder)
    return found


def flags_of(name: str, spec: Mapping[str, Any], claims: Mapping[str, Path]) -> tuple[Flags, list[str]]:
    """What the spec means as flags, and lines on what has no effect here. Wrong names the field."""
    own = {field: value for field, value in spec.items() if field not in CLUSTER_ONLY}
    off = "has no effect here: it is about the run in a cluster"
    notes = [f"spec.{field} {off}" for field in CLUSTER_ONLY if field in spec]
    model = own.get("model")
    for field in REFERENCES:
        if isinstance(model, dict) and field in model:
            what = f"spec.model.{field} names a resource of a cluster: name the model by uri here"
            raise Wrong(what)
    if problem := next(_unknown(own, _KNOWN, "spec."), None):
        raise Wrong(problem)
    for field in ("model", "dataset"):
        source = own.get(field)
        if not isinstance(source, dict):
            raise Wrong(f"spec.{field} is missing: uri says where it is")
        notes += [
            f"spec.{field}.{each} has no effect here" for each in _CLUSTER_ONLY_SOURCE if each in source
        ]
        for each in _REFUSED_SOURCE:
            if source.get(each):
                raise Wrong(
                    f"spec.{field}.{each} is not looked at here: remove it, or bring the files by 'store fetch'"
                )
    try:
        # Where the artifact would go is the cluster's business.
        made = FineTuneSpec.model_validate(own | {"output": "file:///dev/null"})
    except ValidationError as problem:
        raise Wrong(_first(problem)) from None
    row = OBJECTIVES[made.objective]
    flags = Flags(
        model=_word(made.model.uri, "model", claims),
        dataset=_word(made.dataset.uri, "dataset", claims),
        part=DataPart(made.dataset.config, made.dataset.split),
        dataset_format=made.dataset.format,
        bad_rows=made.dataset.bad_rows,
        output_dir=Path(name),
        objective=made.objective,
        options=(getattr(made, row.options) or row.settings()) if row.settings else None,
        method=made.method,
        hyperparameters=made.hyperparameters,
        lora=made.lora or Lora(),
        experts=made.experts,
        rope_scaling=made.rope_scaling,
        tokenizer=made.tokenizer,
        qlora=made.qlora or Qlora(),
        precision=made.precision,
        max_train_samples=made.dataset.max_samples or 0,
        eval_dataset_size=made.dataset.eval_fraction,
        max_eval_samples=None,
        save_steps=made.checkpoints.every_steps,
        save_total_limit=made.checkpoints.keep,
        save_every_epoch=made.checkpoints.every_epoch,
        logging_steps=1,
        restart=False,
        output="text",
        extras=Extras(),
        tracking=_tracking(made, name),
        task="",
        of_the_model={},
        dry_run=False,
        told=(),
    )
    return flags, notes


def _tracking(made: FineTuneSpec, name: str) -> Tracking:
    """The name of the run is the resource's, as in a cluster."""
    told = made.tracking
    return told.model_copy(update={"run_name": told.run_name or name}) if told.report_to else told


def _word(uri: str, field: str, claims: Mapping[str, Path]) -> str:
    """What the commands know of a URI: a path for a claim's."""
    scheme, _, rest = uri.partition("://")
    if scheme == "image":
        hint = "name a folder, or what the image was made of"
        raise Wrong(f"spec.{field}.uri: {uri} is mounted by a cluster alone: {hint}")
    if scheme != "pvc":
        return uri
    claim, _, path = rest.partition("/")
    if claim not in claims:
        hint = f"--claims {claim}=DIR names a folder with its files"
        raise Wrong(f"spec.{field}.uri: {uri} lies in the claim {claim}: {hint}")
    if ".." in Path(path).parts:
        raise Wrong(f"spec.{field}.uri: {uri} leaves the claim")
    return str(claims[claim].absolute() / path)


class _Known(BaseModel):
    """The fields that there are, by model."""

    model: Source
    dataset: DatasetSource


_KNOWN: dict[str, Any] = {
    info.alias or name: info.annotation
    for kind in (FineTuneSettings, _Known)
    for name, info in kind.model_fields.items()
}


def _unknown(value: Mapping[str, Any], known: Mapping[str, Any], above: str) -> Iterator[str]:
    """Fields that are none, with the nearest that is one."""
    for field, inner in value.items():
        if field not in known:
            names = [*known, *CLUSTER_ONLY] if above == "spec." else [*known]
            yield f"{above}{field} is no field of a {KIND}{did_you_mean(str(field), names)}"
            continue
        kind = _model_of(known[field])
        if kind is not None and isinstance(inner, dict):
            below = {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
            yield from _unknown(inner, below, f"{above}{field}.")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or that it may be beside None."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _first(problem: ValidationError) -> str:
    first = problem.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"spec{'.' if place else ''}{place}: {first['msg'].removeprefix('Value error, ')}"


def _merge(flags: Flags) -> int:
    """Merge the adapter into its base, as a cluster does; the exit status.

    It gets its name when it is whole; until then an earlier one keeps it.
    """
    from speechless.finetune import merge_peft_adapters
    from speechless.finetune.outputs import COMPLETED, LATEST

    merged, partial, former = (flags.output_dir / name for name in ("merged", ".merged", ".merged-before"))
    ended = (flags.output_dir / COMPLETED).stat().st_mtime
    if merged.is_dir() and merged.stat().st_mtime >= ended:
        return 0
    for stale in (partial, former):
        shutil.rmtree(stale, ignore_errors=True)
    words = ["--base_model_name_or_path", flags.model, "--lora_model_path", str(flags.output_dir / LATEST)]
    with contextlib.redirect_stdout(sys.stderr):  # the result is the run's
        status = merge_peft_adapters.main([*words, "--merged_model_name_or_path", str(partial)])
    if status == 0:
        if merged.exists():
            merged.rename(former)
        partial.rename(merged)
        shutil.rmtree(former, ignore_errors=True)
        print(f"speechless finetune: merged into {merged}", file=sys.stderr)
    return status
