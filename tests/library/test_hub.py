"""Models by a hub's name: the real client, asking a server that answers as a hub does."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from speechless.store import digest_tree
from tests.library.hub_client import Run, client
from tests.library.hub_server import COMMIT, Hub, hub

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)
LOCATE = "import sys; from speechless.store.models import locate_model as find; print(find(sys.argv[1]).path)"


@pytest.fixture
def served(model: Path, tmp_path: Path) -> Iterator[Hub]:
    """A hub with the tiny model, and beside its weights the same for other programs."""
    repo = tmp_path / "repo"
    shutil.copytree(model, repo)
    (repo / "pytorch_model.bin").write_bytes(b"a pickle")
    (repo / "tiny.gguf").write_bytes(b"for another program")
    with hub() as state:
        state.repos["org/tiny"] = repo
        yield state


@pytest.fixture
def run(served: Hub, tmp_path: Path) -> Run:
    """A program in a process of its own: the client reads its variables when it is imported."""

    return client(served.url, tmp_path)


def test_a_model_is_downloaded_once_whole_and_without_what_is_not_safe(
    run: Run, served: Hub, model: Path
) -> None:
    first = run("-c", LOCATE, "org/tiny@v1")
    assert first.returncode == 0, first.stderr
    path = Path(first.stdout.strip())
    assert path.name == COMMIT
    assert digest_tree(path)[0] == digest_tree(model)[0], "the same model has the same digest from a hub"
    served.asked.clear()
    assert run("-c", LOCATE, "hf://org/tiny@v1").stdout == first.stdout
    assert not [asked for asked in served.asked if asked.startswith("GET") and "/resolve/" in asked]
    served.asked.clear()
    for word in ("org/tiny@v1", f"org/tiny@{COMMIT}"):
        assert run("-c", LOCATE, word, HF_HUB_OFFLINE="1").stdout == first.stdout
    assert served.asked == []
    unreachable = run("-c", LOCATE, "org/tiny@v1", HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable.stdout == first.stdout
    assert "cannot be reached" in unreachable.stderr


def test_a_download_that_was_cut_goes_on(run: Run, served: Hub, model: Path) -> None:
    served.cut.add("model.safetensors")
    done = run("-c", LOCATE, "org/tiny")
    again = done if done.returncode == 0 else run("-c", LOCATE, "org/tiny")
    assert again.returncode == 0, again.stderr
    assert digest_tree(Path(again.stdout.strip()))[0] == digest_tree(model)[0]


def test_data_check_takes_a_hubs_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "sum x", "completion": " return 1"}\n')
    done = run("-m", "speechless.data", "check", "rows.jsonl", "--model", "org/tiny", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"]["lengths"]["total"] > 0


def check(run: Run, word: str, **variables: str) -> str:
    """What is said of a model that cannot be had: one line, status 1. (The rows are not read before it is there.)"""
    done = run("-m", "speechless.data", "check", "rows.jsonl", "--model", word, **variables)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert "Traceback" not in done.stderr
    return line


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "org/nosuch",
            "org/nosuch: {url} has no such repository, or it is private (check the name; set HF_TOKEN",
        ),
        ("org/tiny@v9", "org/tiny@v9: the repository has no branch, tag or commit 'v9'"),
        (
            "org/pickled",
            "org/pickled: the repository holds no weights as safetensors, only such as pytorch_model.bin",
        ),
    ],
)
def test_what_a_hub_does_not_have(word: str, said: str, run: Run, served: Hub, tmp_path: Path) -> None:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "pickled" / "config.json").write_bytes(b"{}")
    served.repos["org/pickled"] = tmp_path / "pickled"
    assert said.format(url=served.url) in check(run, word)


def test_a_gated_repository_needs_a_token(run: Run, served: Hub) -> None:
    served.gated.add("org/tiny")
    assert "org/tiny: the repository is gated (accept its conditions on its page, and set HF_TOKEN" in check(
        run, "org/tiny"
    )
    assert run("-c", LOCATE, "org/tiny", HF_TOKEN="good").returncode == 0


@pytest.mark.parametrize(
    ("status", "said"), [(429, "asked less often (HTTP 429)"), (403, "refuses the token (HTTP 403)")]
)
def test_a_hub_that_refuses(status: int, said: str, run: Run, served: Hub) -> None:
    served.status = status
    assert said in check(run, "org/tiny")


def test_no_network_and_nothing_in_the_cache(run: Run) -> None:
    assert "cannot be reached: " in check(run, "org/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert "not whole in the cache" in check(run, "org/tiny", HF_HUB_OFFLINE="1")


def test_an_adapter_names_its_base_as_others_can_find_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "sum x", "completion": " return 1"}\n' * 4)
    words = ["--model_name_or_path", "org/tiny", "--dataset", "rows.jsonl", "--output_dir", "out"]
    words += ["--max_steps", "1", "--eval_dataset_size", "0", "--per_device_train_batch_size", "2"]
    done = run("-m", "speechless.finetune.finetune", *words)
    assert done.returncode == 0, done.stderr
    adapter = json.loads((tmp_path / "out" / "latest" / "adapter_model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "org/tiny"


# --------------------------------------------------------------------------------------------------- as URIs of a stage

OPEN = """
import json, sys
from pathlib import Path
from speechless.contract import Source
from speechless.errors import StageError
from speechless.store import Access, store_for
uri, digest, secret, part = sys.argv[1], sys.argv[2] or None, sys.argv[3] or None, json.loads(sys.argv[4])
access = Access(secrets={"hub": secret} if secret else {})
try:
    opened = store_for(uri, access, "hub" if secret else None).open(
        Source(uri=uri, digest=digest, **part), Path("in")
    )
    print(json.dumps({"path": str(opened.path), "digest": opened.digest, "revision": opened.revision}))
except StageError as problem:
    print(json.dumps({"reason": problem.reason.value, "message": problem.message, "hint": problem.hint}))
"""


def opened(
    run: Run,
    uri: str,
    *,
    digest: str = "",
    secret: str = "",
    part: dict[str, list[str]] | None = None,
    **variables: str,
) -> dict[str, str]:
    done = run("-c", OPEN, uri, digest, secret, json.dumps(part or {}), **variables)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_uri_is_read_at_a_commit(run: Run, model: Path) -> None:
    found = opened(run, "hf://org/tiny@v1")
    assert (found["digest"], found["revision"]) == (digest_tree(model)[0], COMMIT)


def test_without_a_cache_of_the_machine_it_goes_where_it_is_told(run: Run, tmp_path: Path) -> None:
    found = opened(run, "hf://org/tiny@v1", HF_HOME="")
    assert Path(found["path"]).is_relative_to(tmp_path / "in" / "hub")


def test_a_revision_that_moved_is_told(run: Run) -> None:
    found = opened(run, "hf://org/tiny@main", digest="sha256:" + "0" * 64)
    assert found["reason"] == "DigestMismatch"
    assert f"at commit {COMMIT}: the revision moved" in found["message"]


def test_a_token_comes_from_the_secret(run: Run, served: Hub, model: Path, tmp_path: Path) -> None:
    served.gated.add("org/tiny")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "HF_TOKEN").write_text("good\n")
    refused = opened(run, "hf://org/tiny", HF_TOKEN="bad")
    assert refused["reason"] == "InputForbidden"
    found = opened(run, "hf://org/tiny", secret="secret", HF_TOKEN="bad")
    assert found["digest"] == digest_tree(model)[0]


def test_one_file_and_a_dataset_are_read(run: Run, served: Hub, tmp_path: Path) -> None:
    one = opened(run, "hf://org/tiny@v1/tiny.gguf")
    assert Path(tmp_path, one["path"]).read_bytes() == b"for another program"
    rows = tmp_path / "rows"
    (rows / "data").mkdir(parents=True)
    (rows / "data" / "train.jsonl").write_text("{}\n")
    (rows / "rows.py").write_text("raise SystemExit('it was run')")
    served.repos["org/rows"] = rows
    found = opened(run, "hf://datasets/org/rows")
    assert sorted(path.name for path in Path(tmp_path, found["path"]).rglob("*")) == ["data", "train.jsonl"]
    assert opened(run, "hf://datasets/org/rows/data")["digest"] == digest_tree(rows / "data")[0]
    missing = opened(run, "hf://datasets/org/rows/nothing")
    assert missing["reason"] == "InputNotFound"
    assert "at nothing" in missing["message"]


# ------------------------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize("home", [True, False])
def test_patterns_choose_what_is_downloaded(run: Run, served: Hub, tmp_path: Path, home: bool) -> None:
    variables = {} if home else {"HF_HOME": ""}
    part = {"include": ["*.json", "*.bin"], "exclude": ["tokenizer*"]}
    found = opened(run, "hf://org/tiny@v1", part=part, **variables)
    names = {path.name for path in Path(tmp_path, found["path"]).iterdir()}
    assert "config.json" in names
    assert not [name for name in names if not name.endswith(".json") or name.startswith("tokenizer")]
    assert found["digest"] == digest_tree(Path(tmp_path, found["path"]))[0]
    assert not [asked for asked in served.asked if "safetensors" in asked or "pytorch_model" in asked]
    same = opened(run, "hf://org/tiny@v1", part=part, digest=found["digest"], **variables)
    assert same["digest"] == found["digest"]


def test_a_part_is_the_same_where_the_whole_is_there_already(run: Run, tmp_path: Path) -> None:
    """The hub's client keeps one folder a commit: what was asked for before is in it, too."""
    part = {"exclude": ["*.safetensors"]}
    first = opened(run, "hf://org/tiny@v1", part=part, HF_HOME=str(tmp_path / "fresh"))
    opened(run, "hf://org/tiny@v1")
    assert opened(run, "hf://org/tiny@v1", part=part)["digest"] == first["digest"]
    offline = opened(run, "hf://org/tiny@v1", part=part, HF_HUB_OFFLINE="1")
    assert offline["digest"] == first["digest"]


def test_weights_of_another_program_come_where_they_are_asked_for(run: Run, tmp_path: Path) -> None:
    found = opened(run, "hf://org/tiny", part={"include": ["*.gguf"]})
    (file,) = Path(tmp_path, found["path"]).iterdir()
    assert file.read_bytes() == b"for another program"


def test_a_whole_model_is_the_same_where_more_is_in_the_cache(run: Run, model: Path) -> None:
    opened(run, "hf://org/tiny@v1", part={"include": ["*.gguf", "*.txt"]})
    whole = opened(run, "hf://org/tiny@v1")
    assert whole["digest"] == digest_tree(model)[0]
    found = run("-c", LOCATE, "org/tiny@v1")
    assert found.returncode == 0, found.stderr
    assert digest_tree(Path(found.stdout.strip()))[0] == whole["digest"]
    assert Path(found.stdout.strip()).name == COMMIT
    again = run("-c", LOCATE, "hf://org/tiny@v1", HF_HUB_OFFLINE="1")
    assert again.stdout == found.stdout


def test_patterns_that_choose_nothing(run: Run) -> None:
    found = opened(run, "hf://org/tiny", part={"include": ["*.bin"]})
    assert found["reason"] == "InputNotFound"
    assert found["message"].startswith("org/tiny: include *.bin chooses none of ")
    assert "config.json" in found["message"]
    assert "pickles and scripts are never read" in found["hint"]


def test_a_person_fetches_a_part(run: Run, tmp_path: Path) -> None:
    words = ["-m", "speechless.store", "fetch", "org/tiny@v1", "copy", "--include", "config.json"]
    for variables in ({}, {"HF_HOME": ""}):
        done = run(*words, **variables)
        assert done.returncode == 0, done.stderr
        assert [path.name for path in (tmp_path / "copy").iterdir()] == ["config.json"]
        assert (tmp_path / "copy" / "config.json").stat().st_nlink == 1, "whoever edits it edits no cache"
        shutil.rmtree(tmp_path / "copy")
    assert not list(tmp_path.glob(".copy*"))


def test_the_server_of_these_tests_answers_ranges(served: Hub) -> None:
    repo = served.repos["org/tiny"]
    (repo / "large.bin").write_bytes(bytes(range(256)) * 20_000)
    url = f"{served.url}/org/tiny/resolve/main/large.bin"
    for wanted, expected in (
        ("bytes=10-19", bytes(range(10, 20))),
        ("bytes=5119990-", bytes(range(246, 256))),
        ("bytes=5119999-6000000", b"\xff"),
    ):
        with urlopen(Request(url, headers={"Range": wanted}), timeout=10) as answer:
            assert (answer.status, answer.read()) == (206, expected)
    with pytest.raises(HTTPError, match="416"):
        urlopen(Request(url, headers={"Range": "bytes=5120000-"}), timeout=10)
    with urlopen(url, timeout=10) as answer:
        first = answer.headers["ETag"]
        assert len(answer.read()) == 5_120_000
    (repo / "large.bin").write_bytes(b"other")
    with urlopen(url, timeout=10) as answer:
        assert answer.read() == b"other"
        assert answer.headers["ETag"] != first
