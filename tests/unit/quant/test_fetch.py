"""The converter from the package index: what is taken, what is refused, and what is left when it goes wrong."""

import io
import tarfile
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.quant import convert, fetch
from tests.unit.layout.repository import ROOT

BEGINNING = f"llama_cpp_python-{fetch.VERSION}/vendor/llama.cpp"


def archive(path: Path, names: list[str]) -> Path:
    """A source distribution with files of these names."""
    with tarfile.open(path, "w:gz") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            made.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in convert.SOURCE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(convert, "SOURCE_FOLDERS", ())


def test_the_version_is_the_images() -> None:
    assert fetch.REQUIREMENT in (ROOT / "images/llamacpp/source.txt").read_text().splitlines()


def test_the_converters_files_are_kept_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["LICENSE", "convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/__init__.py"]
    others = [f"{BEGINNING}/src/llama.cpp", f"llama_cpp_python-{fetch.VERSION}/LICENSE.md"]
    monkeypatch.setattr(
        fetch,
        "_download",
        lambda folder: archive(folder / "a.tar.gz", [f"{BEGINNING}/{name}" for name in wanted] + others),
    )
    with pytest.raises(StageError, match="converter was not found") as missing:
        convert.find_source()
    assert "speechless quant converter" in missing.value.hint
    folder = fetch.fetch()
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted(wanted)
    assert convert.find_source() == folder
    monkeypatch.setattr(fetch, "_download", lambda folder: pytest.fail("downloaded again"))
    assert fetch.fetch() == folder


def test_without_an_index_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(StageError, match="converter was not downloaded: ERROR") as refused:
        fetch.fetch()
    assert refused.value.reason is FailureReason.INPUT_NOT_FOUND
    assert not fetch.cache_folder().exists()
    assert list(fetch.cache_folder().parent.iterdir()) == []


def test_a_name_that_leads_out_is_refused(tmp_path: Path) -> None:
    bad = archive(tmp_path / "a.tar.gz", [f"{BEGINNING}/conversion/../../../../x"])
    with pytest.raises(ValueError, match="not a file to unpack"):
        fetch._unpack(bad, tmp_path / "to")
