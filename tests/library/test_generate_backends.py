"""One model, every back end: greedy completions are the same, whoever makes them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate import Completion, Generator, Message, Sampling, open_generator
from speechless.generate.perplexity import measure
from tests.library.needs import GREEDY_PROMPTS, needs_llama_server, needs_wheel

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)

GREEDY = Sampling(max_tokens=12)
CONVERSATION: list[Message] = [{"role": "user", "content": "sum x"}]


@pytest.fixture(scope="module")
def expected(model: Path) -> tuple[list[Completion], list[Completion]]:
    """What Transformers makes of the prompts and of a conversation."""
    with open_generator(model) as generator:
        assert generator.name == "hf"
        return generator.complete(GREEDY_PROMPTS, GREEDY), generator.chat([CONVERSATION], GREEDY)


@pytest.fixture(params=["hf", "llama-server", "wheel"])
def generator(
    request: pytest.FixtureRequest, model: Path, f16: Path, without_tools: Callable[[], None]
) -> Generator:
    """Each back end, not yet entered."""
    if request.param == "hf":
        return open_generator(model, batch_size=2)
    if request.param == "llama-server":
        needs_llama_server()
        made = open_generator(f16, parallel=2)
    else:
        needs_wheel()
        without_tools()
        made = open_generator(f16, parallel=2)
    assert made.name == "llama-server"
    return made


def test_the_contract(generator: Generator, expected: tuple[list[Completion], list[Completion]]) -> None:
    with generator:
        assert generator.complete(GREEDY_PROMPTS, GREEDY) == expected[0]
        assert generator.chat([CONVERSATION], GREEDY) == expected[1]
        assert generator.versions
        _stop_strings(generator, expected[0])
        _seeds(generator)
        _a_full_context(generator)
        _a_stop(generator)


def _stop_strings(generator: Generator, expected: list[Completion]) -> None:
    """The text ends before the stop string, and says so."""
    middle = expected[0].text[4:6]
    [made] = generator.complete(GREEDY_PROMPTS[:1], Sampling(max_tokens=12, stop=(middle, "never there")))
    assert made.text == expected[0].text[: expected[0].text.index(middle)]
    assert made.finish_reason == "stop"
    assert made.completion_tokens < 12


def _seeds(generator: Generator) -> None:
    """The same seed gives the same text, another one another."""
    texts = [
        generator.complete(["def"], Sampling(max_tokens=12, temperature=1.5, seed=seed))[0].text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def _a_full_context(generator: Generator) -> None:
    """A prompt that fills the context has no completion; one that nearly does has a short one."""
    nearly = "x" + " x" * 249
    full, short = generator.complete(["x" + " x" * 300, nearly], Sampling(max_tokens=50))
    assert (full.text, full.completion_tokens, full.finish_reason) == ("", 0, "length")
    assert short.completion_tokens <= 6


def _a_stop(generator: Generator) -> None:
    """Last: llama-server is ended by it."""
    with pytest.raises(StageError) as stopped:
        generator.complete(GREEDY_PROMPTS, Sampling(max_tokens=100), stopping=lambda: True)
    assert stopped.value.reason is FailureReason.INTERRUPTED


def test_batches_do_not_change_what_is_made(model: Path) -> None:
    made = []
    for size in (1, 4):
        with open_generator(model, batch_size=size) as generator:
            made.append(generator.complete(GREEDY_PROMPTS, GREEDY))
    assert made[0] == made[1]


def test_a_folder_that_transformers_cannot_load(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "base"))
    (folder / "config.json").write_text("{}")
    with pytest.raises(StageError, match="Transformers cannot load it") as refused, open_generator(folder):
        pass
    assert refused.value.reason is FailureReason.MODEL_INVALID


def test_a_file_that_llama_server_cannot_load(tmp_path: Path) -> None:
    from tests.support.gguf import write_gguf

    needs_llama_server()
    file = write_gguf(tmp_path / "m.gguf", [("a", (8, 8), "F16")])
    with (
        pytest.raises(StageError, match="llama-server ended with exit status") as refused,
        open_generator(file),
    ):
        pass
    assert refused.value.reason is FailureReason.MODEL_INVALID


@pytest.fixture
def closing(model: Path, tmp_path: Path) -> Path:
    """The model with a tokenizer that puts an end after every text (`add_eos_token`)."""
    made = Path(shutil.copytree(model, tmp_path / "closing"))
    file = made / "tokenizer.json"
    told = json.loads(file.read_text())
    end = next(token["id"] for token in told["added_tokens"] if token["content"] == "</s>")
    after = {"id": "</s>", "ids": [end], "tokens": ["</s>"]}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    told["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [text, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"</s>": after},
    }
    file.write_text(json.dumps(told))
    return made


def test_a_prompt_is_open_whatever_the_tokenizer_closes(
    closing: Path, text_file: Path, model: Path, expected: tuple[list[Completion], list[Completion]]
) -> None:
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(closing)("sum x")["input_ids"][-1:] == [1], "it does close"
    with open_generator(closing) as generator:
        assert generator.complete(GREEDY_PROMPTS, GREEDY) == expected[0]
    closed, plain = (measure(folder, text_file, most=2) for folder in (closing, model))
    assert closed.value == plain.value, "no window begins with an end"


def test_weights_that_are_missing_are_not_made_by_chance(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(model, tmp_path / "base"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with (
        pytest.raises(StageError, match=r"base: 1 weights are missing, such as model.layers.1.mlp.up_proj"),
        open_generator(folder),
    ):
        pass
