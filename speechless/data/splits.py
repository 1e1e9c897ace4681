"""A part of a dataset: a configuration and a split, as a hub's datasets have them.

Which files they are is told by `datasets`: by the README's `configs`, else by the names of files and folders
(https://huggingface.co/docs/hub/datasets-data-files-configuration). The rows are read by this package's own readers,
which change no value (docs/decisions.md, 27 and 33). Nothing of a repository is run, and no network is asked.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.data.files import Part, Place, kind_of_file, read_part
from speechless.data.jsonl import Line, opened
from speechless.entry import need
from speechless.errors import StageError
from speechless.store.words import DataPart

log = logging.getLogger(__name__)

CARD, YAML = "README.md", ".huggingface.yaml"
"""Files of a repository that may name its configurations."""
HONOURED = frozenset({"config_name", "data_files", "data_dir", "default"})
HARMLESS = frozenset({"description", "features", "version", "drop_labels", "drop_metadata"})
"""Keys of a configuration that change no row that is read here; another one is refused."""
TEXT = ".txt"
NAMES = (
    "config and split in a resource; --dataset_config and --dataset_split on a command line, with --data_ for problems "
    "and --verify_ for a text"
)


def is_hub_dataset(folder: Path) -> bool:
    """Whether a folder is a dataset of a hub: out of the hub client's cache, or with a card like theirs."""
    names = [above.name for above in (folder, *folder.parents)]
    if "snapshots" in names and any(name.startswith("datasets--") for name in names):
        return True
    card = folder / CARD
    if not card.is_file():
        return False
    with card.open("rb") as file:
        return file.read(4) in (b"---\n", b"---\r")


def chosen(place: Path, part: DataPart, said: str) -> tuple[Place, ...]:
    """Where the rows of a part of a dataset are; `said` is what messages call it.

    A file is itself, and so is a folder that is no dataset of a hub when no part is asked for. Of a dataset of a hub,
    its only configuration and its only split; where there are several, one has to be named: nobody is to train on a
    test split without knowing. StageError(DATASET_INVALID) names those that there are.
    """
    return tuple(_parts(place, part, said, text=False)) or (place,)


def one_file(place: Path, part: DataPart, said: str, into: Path, *, text: bool) -> Path:
    """A part of a dataset as one new file in the folder `into`: JSON Lines, or with `text` the rows' `text`.

    Without a part it is the place itself. A line's end is put after a text that has none. StageError(DATASET_INVALID)
    names a row that cannot be written.
    """
    if not part:
        return place
    parts = _parts(place, part, said, text=text)
    name = re.sub(r"[^\w.-]+", "-", "-".join(filter(None, part))).strip("-")
    target = into / f"{name}{TEXT if text else '.jsonl'}"
    into.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as out:
        for line in (line for each in parts for line in _read(each)):
            out.write(_written(line, text=text))
    if not target.stat().st_size:
        raise _invalid(f"{said}: {part.split or part.config} holds no row", "name another split")
    return target


def _parts(place: Path, part: DataPart, said: str, *, text: bool) -> list[Part]:
    """The files of a part, and which of their rows; none: the place is read as it is."""
    if not place.is_dir():
        if part and place.exists():
            hint = "name the dataset's folder, or leave config and split out"
            raise _invalid(f"{said}: a file has no configurations and splits", hint)
        return []
    known = is_hub_dataset(place)
    if not part and not known:
        return []
    need("datasets")
    with _told(said):
        configs, told = _configs(place, said)
    if not told and not part:
        return []
    if not told and not known:
        what = f"{said}: no dataset with splits: no {CARD} with configs, and no file is named after a split"
        raise _invalid(what, "leave config and split out: a folder is all the files of rows in it")
    config = _one("configuration", "config", part.config, configs, said)
    with _told(said):
        splits = _splits(place, config)
    wanted = part.split
    if wanted is None:
        wanted = _one("split", "split", None, list(splits), said)
    found = _sliced("+".join(splits) if wanted == "all" and "all" not in splits else wanted, splits, said)
    for each in found:
        if not (kind_of_file(each.path) or (text and each.path.name.endswith(TEXT))):
            hint = "name files of rows: .jsonl, .json, .csv, .tsv or .parquet"
            raise _invalid(f"{said}: {each.name}: no kind of file that is read", hint)
    log.info("%s: %s, %s: %d files", said, config, wanted, len(found))
    return found


def _one(what: str, field: str, wanted: str | None, there: Sequence[str], said: str) -> str:
    """The one that is wanted, or the only one."""
    names = ", ".join(there)
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None:
        raise _invalid(f"{said}: has the {what}s {names}: name one by {field}", NAMES)
    if wanted not in there:
        raise _invalid(f"{said}: has no {what} {wanted}; there are: {names}", f"{field} names one of them")
    return wanted


# ------------------------------------------------------------------------------------------------ what `datasets` tells


def _configs(folder: Path, said: str) -> tuple[list[str], bool]:
    """The configurations, and whether the card or the names of files tell any split."""
    from datasets import get_dataset_config_names
    from datasets.data_files import DEFAULT_PATTERNS_ALL, get_data_patterns

    named = _named(folder)
    for config in named:
        _refuse_unfit(config, said)
    told = bool(named) or get_data_patterns(str(folder.resolve())) != DEFAULT_PATTERNS_ALL
    return get_dataset_config_names(str(folder.resolve())), told


def _splits(folder: Path, config: str) -> dict[str, list[Path]]:
    """The files of each split."""
    from datasets import load_dataset_builder

    root = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="speechless-datasets-") as cache:
        builder = load_dataset_builder(str(root), config, cache_dir=cache)
    files = {str(name): [Path(file) for file in found] for name, found in builder.config.data_files.items()}
    for file in (file for found in files.values() for file in found):
        if not file.is_relative_to(root):
            raise ValueError(f"{file} leads out of the repository")
    return files


def _named(folder: Path) -> list[Mapping[str, Any]]:
    """The configurations that the card names, as it has them."""
    import yaml
    from huggingface_hub import metadata_load

    card, other = folder / CARD, folder / YAML
    told = [metadata_load(card) if card.is_file() else None]
    told.append(yaml.safe_load(other.read_text(encoding="utf-8")) if other.is_file() else None)
    lists = [one.get("configs") for one in told if isinstance(one, dict)]
    return [config for one in lists if isinstance(one, list) for config in one if isinstance(config, dict)]


def _refuse_unfit(config: Mapping[str, Any], said: str) -> None:
    """Refuse a configuration that leads out of the repository, or that wants its files read in a way of its own."""
    name = config.get("config_name", "default")
    for path in _texts([config.get("data_files"), config.get("data_dir")]):
        if "://" in path or path.startswith(("/", "~")) or ".." in path.split("/"):
            hint = "name a repository that has its own files"
            raise _invalid(f"{said}: configuration {name} reads {path}, outside the repository", hint)
    if unknown := sorted(map(str, config.keys() - HONOURED - HARMLESS)):
        what = f"{said}: configuration {name} sets {', '.join(unknown)}, which is not honoured here"
        raise _invalid(what, "name its files instead: add their path to the address, without config")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


@contextmanager
def _told(said: str) -> Iterator[None]:
    """What `datasets` says of a repository: it raises whatever comes, and what is wrong is the repository's."""
    try:
        yield
    except (StageError, ModuleNotFoundError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = f"look at the configs in its {CARD}, or name its files without config and split"
        raise _invalid(f"{said}: no dataset that can be read: {first}", hint) from error


# --------------------------------------------------------------------------------------------------------------- slices


def _sliced(wanted: str, splits: Mapping[str, Sequence[Path]], said: str) -> list[Part]:
    """The files of `train`, `train[:10%]`, `train+test[-5:]`, in this order."""
    names = [each.partition("[")[0].strip() for each in wanted.split("+")]
    for name in names:
        _one("split", "split", name, list(splits), said)
    if "[" not in wanted:
        return [Part(file) for name in names for file in splits[name]]
    from datasets import ReadInstruction

    sizes = {name: [_size(file) for file in splits[name]] for name in names}
    try:
        found = ReadInstruction.from_spec(wanted).to_absolute(
            {name: sum(rows) for name, rows in sizes.items()}
        )
    except (ValueError, AssertionError) as error:
        raise _invalid(
            f"{said}: split {wanted}: {error}", "write a slice as datasets has it: train[:10%]"
        ) from error
    parts = []
    for each in found:
        first, last = each.from_ or 0, each.to
        for file, size in zip(splits[each.splitname], sizes[each.splitname], strict=True):
            start, stop = max(first, 0), size if last is None else min(last, size)
            if start < stop:
                parts.append(Part(file, start, stop))
            first, last = first - size, None if last is None else last - size
    if not parts:
        raise _invalid(f"{said}: split {wanted} holds no row", "write a larger slice")
    return parts


def _size(file: Path) -> int:
    """Rows of a file."""
    if file.suffix == ".parquet":
        need("pyarrow")
        import pyarrow.parquet as pq

        return int(pq.read_metadata(file).num_rows)
    return sum(1 for _ in _read(Part(file)))


def _read(part: Part) -> Iterator[Line]:
    """The rows of a file; of a text, each line is one."""
    if not part.path.name.endswith(TEXT):
        yield from read_part(part)
        return
    with opened(part.path) as file:
        for number, raw in enumerate(file):
            if number >= part.start and (part.stop is None or number < part.stop):
                yield Line(f"{part.name}:{number + 1}", {"text": raw.decode("utf-8", "replace")})


def _written(line: Line, *, text: bool) -> str:
    if line.problem is not None:
        raise _invalid(f"{line.where}: {line.problem}", "correct or remove the row")
    if not text:
        return json.dumps(line.value, ensure_ascii=False, default=str) + "\n"
    words = line.value.get("text") if isinstance(line.value, dict) else None
    if not isinstance(words, str):
        raise _invalid(f"{line.where}: no text", "a text is made of rows with the key text")
    return words if words.endswith("\n") else f"{words}\n"


def _invalid(what: str, hint: str) -> StageError:
    return StageError(FailureReason.DATASET_INVALID, what, hint)
