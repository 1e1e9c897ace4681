"""Every folder says what it is: a README.md, or the docstring of its package."""

import ast
from collections.abc import Iterable
from pathlib import Path

from tests.unit.layout.repository import ROOT, files


def folders_to_explain(paths: Iterable[Path]) -> set[Path]:
    """The folders at the top, and every package; hidden folders hold what a tool looks for there."""
    paths = list(paths)
    top = {Path(path.parts[0]) for path in paths if len(path.parts) > 1 and not path.parts[0].startswith(".")}
    return top | {path.parent for path in paths if path.name == "__init__.py"}


def is_explained(folder: Path) -> bool:
    """Whether a folder has a README.md (docs/: an index.md) or a package docstring, with some words in it."""
    package = folder / "__init__.py"
    docstring = ast.get_docstring(ast.parse(package.read_text())) if package.is_file() else None
    pages = [page.read_text() for page in (folder / "README.md", folder / "index.md") if page.is_file()]
    return any(len(text.split()) >= 5 for text in [docstring or "", *pages])


def test_every_folder_is_explained() -> None:
    silent = [
        str(folder) for folder in sorted(folders_to_explain(files())) if not is_explained(ROOT / folder)
    ]
    assert not silent, f"no README.md and no docstring in __init__.py: {', '.join(silent)}"


def test_the_folders_that_need_words_are_found() -> None:
    paths = [
        Path("README.md"),
        Path(".ci/run"),
        Path("hack/x/y.sh"),
        Path("lib/a/__init__.py"),
        Path("lib/a/data/b.json"),
    ]
    assert folders_to_explain(paths) == {Path("hack"), Path("lib"), Path("lib/a")}


def test_a_folder_without_words_is_caught(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text('"""Tools."""\n')
    assert not is_explained(tmp_path)
    (tmp_path / "README.md").write_text("# Tools\n\nThe tools that build the images.\n")
    assert is_explained(tmp_path)
