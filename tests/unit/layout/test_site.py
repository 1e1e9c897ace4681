"""The documentation builds strictly and needs no other host to be read."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.layout.repository import ROOT


def loaded_from_elsewhere(html: str) -> set[str]:
    """What a page makes a browser fetch from another host: scripts, styles, fonts, images, frames; not mere links."""
    tags = re.findall(r"<(?:script|link|img|iframe|source|video)\b[^>]*>", html)
    fetched = [tag for tag in tags if 'rel="canonical"' not in tag]
    return {
        url for tag in fetched for url in re.findall(r"(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)", tag)
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        ["hack/docs.sh", "build", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_strictly_and_stands_alone(site: Path) -> None:
    pages = {str(page.relative_to(site)): page.read_text() for page in site.rglob("*.html")}
    assert "index.html" in pages
    elsewhere = {name: loaded_from_elsewhere(html) for name, html in pages.items()}
    assert {name: urls for name, urls in elsewhere.items() if urls} == {}


def test_a_link_to_a_page_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[there](there.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: probe\nsite_dir: site\nplugins: []\n")
    done = subprocess.run(
        ["hack/docs.sh", "build", "--config-file", tmp_path / "mkdocs.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "link 'there.md', but the target is not found" in done.stderr.replace(
        "target 'there.md'", "target"
    )


def test_search_needs_no_server(site: Path) -> None:
    """A page that is opened as a file may fetch nothing: the index is a script, and a frame is the worker."""
    index = site / "search" / "search_index.js"
    assert json.loads(index.read_text().removeprefix("var __index = "))["docs"]
    for page in (site / "index.html", site / "howto" / "storage.html"):
        (shim,) = re.findall(r'<script src="([^"]*iframe-worker[^"]*)"', page.read_text())
        assert (page.parent / shim).is_file(), f"{page.name} loads {shim}"


def test_a_font_from_another_host_is_caught() -> None:
    html = '<a href="https://a.org">a</a><link rel=stylesheet href="https://f.org/x.css"><script src=//c.org/y.js>'
    assert loaded_from_elsewhere(html) == {"https://f.org/x.css", "//c.org/y.js"}


def test_the_command_lines_page_is_what_the_parsers_say() -> None:
    from cli_reference import TARGET, page

    assert TARGET.read_text() == page(), "run: .venv/bin/python hack/cli_reference.py"
