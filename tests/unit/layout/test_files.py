"""Small files, and nothing in them that belongs to the machine they were written on."""

import re
import statistics

import pytest

from tests.unit.layout.repository import ROOT, files, texts

SOURCE = (".py", ".sh", ".go")
LONGEST, MEDIAN, LARGEST = 500, 200, 1_000_000

# What a stranger's clone cannot use: paths of one machine, addresses of one network, talk about one workplace, and
# a design paper that is not in the repository (docs/architecture.md is).
FOREIGN = {
    "path of one machine": re.compile(r"(?<![\w.~}-])/(?:root|home|Users|work)/\w"),
    "address of a package index": re.compile(
        r"https?://[^\s/\"']+/(?:[\w.-]+/)*(?:simple|artifactory|nexus|goproxy)(?:/|\b)"
        r"|(?<![\w-])--(?:(?:extra-)?index-url|find-links|trusted-host)[ =]\S"
        r"|\bGOPROXY=\S*https?:"
    ),
    "talk about a workplace": re.compile(
        r"\b(?:this|last|previous|earlier|later|next|another|your|our) session\b|(?<![\w./])shared/(?:ref|proto|DES)",
        re.IGNORECASE,
    ),
    "paper that is not here": re.compile(r"\bDESIGN(?:\.md| §)"),
}


def too_long(lines: dict[str, int]) -> list[str]:
    """The files above the limit of lines."""
    return [f"{name}: {count} lines" for name, count in lines.items() if count > LONGEST]


def foreign(contents: dict[str, str]) -> list[str]:
    """The lines that mean something on one machine only."""
    return [
        f"{name}:{number}: {what}: {line.strip()[:120]}"
        for name, content in contents.items()
        for number, line in enumerate(content.splitlines(), 1)
        for what, pattern in FOREIGN.items()
        if pattern.search(line)
    ]


def line_counts() -> dict[str, int]:
    """The lines of every source file."""
    return {name: len(text.splitlines()) for name, text in texts().items() if name.endswith(SOURCE)}


def test_no_source_file_is_too_long() -> None:
    assert too_long(line_counts()) == []


def test_the_median_source_file_is_short() -> None:
    assert statistics.median(line_counts().values()) < MEDIAN


def test_a_long_file_is_caught() -> None:
    assert too_long({"a.py": LONGEST, "b.py": LONGEST + 1}) == [f"b.py: {LONGEST + 1} lines"]


def test_no_file_is_large() -> None:
    sizes = {str(path): (ROOT / path).stat().st_size for path in files()}
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}


def test_nothing_foreign_is_in_a_file() -> None:
    assert foreign(texts()) == []


@pytest.mark.parametrize(
    "line",
    [
        "cd /" + "root/speechless",
        "see /" + "home/ann/notes",
        "open('/" + "work/x')",
        "--index-" + "url https://pypi.example.org",
        "https://mirror.example.org/pypi/" + "simple/torch",
        "GO" + "PROXY=https://go.example.org",
        "as the previous " + "session left it",
        "see shared/" + "reference",
        "as DESIGN" + " §3 says",
    ],
)
def test_a_foreign_line_is_caught(line: str) -> None:
    assert len(foreign({"a.txt": line})) == 1


@pytest.mark.parametrize(
    "line",
    [
        "uv pip compile --no-emit-index-url --no-emit-find-links",
        '@pytest.fixture(scope="session")',
        "mountPath: /var/run/speechless",
        "$HOME/.cache and ~/work/x and ${ROOT}/home/x",
        "https://kubernetes.io/docs/home/",
    ],
)
def test_an_innocent_line_is_not(line: str) -> None:
    assert foreign({"a.txt": line}) == []
