"""The prompt types: the text of each, what is learned of it, and that a model keeps the one it was trained with."""

from __future__ import annotations

import itertools
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, PromptType, Tokenizer
from speechless.data import Conversation, Message, Role, prompt_types
from speechless.data.render import Renderer, turn_ends
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.eval.humaneval.problems import Problem
from speechless.eval.humaneval.prompts import PromptMode, conversation, render
from speechless.finetune.finetune import main
from speechless.finetune.tokenizer import prepare, settled
from speechless.generate.llamacpp.server import free_port
from speechless.generate.llamacpp.tools import find_server, stop_process
from tests.library.chat_fixtures import EOS, learned, talk, tokenizer
from tests.library.needs import needs_llama_server
from tests.library.training import write
from tests.support.wait import wait_for

pytest_plugins = ("tests.library.model_fixtures",)
NAMED = [name for name in PromptType if name is not PromptType.CHAT_TEMPLATE]
FORM = {PromptType.CHATLM: "chatml", PromptType.QWEN2_5: "qwen3", PromptType.LLAMA3: "llama3"}
"""The tokenizer of the tests that has a prompt type's special tokens; the others need none."""
TWO = talk("sum x", "return 1", "max x", "return 2")
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
CHATML = (
    "<|im_start|>user\nsum x<|im_end|>\n<|im_start|>assistant\nreturn 1<|im_end|>\n"
    "<|im_start|>user\nmax x<|im_end|>\n<|im_start|>assistant\nreturn 2<|im_end|>\n"
)
TEXTS = {
    PromptType.ALPACA: f"<s>{ALPACA}\n\n### Instruction:\nsum x\n\n### Response:\nreturn 1</s>\n\n"
    "### Instruction:\nmax x\n\n### Response:\nreturn 2</s>",
    PromptType.CHATLM: f"<s><|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{CHATML}",
    PromptType.LLAMA2: "<s>[INST] sum x [/INST] return 1 </s><s>[INST] max x [/INST] return 2 </s>",
    PromptType.LLAMA3: "<s><|start_header_id|>user<|end_header_id|>\n\nsum x<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nreturn 1<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nmax x<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nreturn 2<|eot_id|>",
    PromptType.MINICPM: "<s><用户>sum x<AI>return 1</s><用户>max x<AI>return 2</s>",
    PromptType.QWEN2_5: "<s><|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    f"<|im_end|>\n{CHATML}",
    PromptType.TOOL_LLAMA: "<s>User: sum x\nAssistant:\nreturn 1</s>\nUser: max x\nAssistant:\nreturn 2</s>\n",
    PromptType.RAW: "<s>sum xreturn 1</s>max xreturn 2</s>",
}
WITH_SYSTEM = {
    PromptType.ALPACA: "<s>for numbers\n\n### Instruction:\n",
    PromptType.CHATLM: "<s><|im_start|>system\nfor numbers<|im_end|>\n<|im_start|>user\n",
    PromptType.LLAMA2: "<s>[INST] <<SYS>>\nfor numbers\n<</SYS>>\n\nsum x [/INST]",
    PromptType.LLAMA3: "<s><|start_header_id|>system<|end_header_id|>\n\nfor numbers<|eot_id|>",
    PromptType.MINICPM: "<s>for numbers<用户>sum x<AI>",
    PromptType.QWEN2_5: "<s><|im_start|>system\nfor numbers<|im_end|>\n<|im_start|>user\n",
    PromptType.TOOL_LLAMA: "<s>System: for numbers\nUser: sum x\n",
    PromptType.RAW: "<s>for numberssum xreturn 1</s>",
}
END = {PromptType.CHATLM: "<|im_end|>", PromptType.QWEN2_5: "<|im_end|>", PromptType.LLAMA3: "<|eot_id|>",
       PromptType.LLAMA2: f" {EOS}"}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = ({"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "ä"}}},)
CALLED = (
    Message(Role.USER, "1 and 2"),
    Message(Role.ASSISTANT, "", CALL),
    Message(Role.TOOL, "3"),
    Message(Role.TOOL, "4"),
    Message(Role.ASSISTANT, "three"),
)


@pytest.mark.parametrize("name", NAMED)
def test_a_type_has_its_text_and_what_the_assistant_says_is_learned(name: PromptType) -> None:
    made = tokenizer(FORM.get(name, "plain"))
    encoded = Renderer(made).conversation(Conversation(TWO, prompt_type=name), "rows:1")
    assert made.decode(encoded[0]) == TEXTS[name]
    end, before = END.get(name, EOS), " " if name is PromptType.LLAMA2 else ""
    assert learned(made, encoded) == [f"{before}return 1{end}", f"{before}return 2{end}"]
    stop = end.strip()
    assert turn_ends(made, prompt_types.source(name)) == (made.convert_tokens_to_ids(stop),)
    told = talk("sum x", "return 1", system="for numbers")
    ids, _ = Renderer(made).conversation(Conversation(told, prompt_type=name), "rows:1")
    assert made.decode(ids).startswith(WITH_SYSTEM[name])


@pytest.mark.parametrize("name", NAMED)
def test_a_question_is_open_for_the_answer_that_was_learned(name: PromptType) -> None:
    made = tokenizer(FORM.get(name, "plain"))
    asked = made.apply_chat_template(
        [{"role": "user", "content": "sum x"}],
        chat_template=prompt_types.source(name),
        tokenize=False,
        add_generation_prompt=True,
    )
    assert TEXTS[name].startswith(asked)
    assert TEXTS[name][len(asked) :].lstrip().startswith("return 1")


@pytest.mark.parametrize("mode", [PromptMode.ALPACA, PromptMode.CHATLM, PromptMode.LLAMA2])
def test_an_evaluation_asks_as_a_training_under_the_same_name_does(mode: PromptMode) -> None:
    problem = Problem(task_id="t/0", prompt="def one():\n", entry_point="one", test="")
    asked = tokenizer("plain").apply_chat_template(
        conversation(problem),
        chat_template=prompt_types.source(PromptType(mode.value), begins=False),
        tokenize=False,
        add_generation_prompt=True,
    )
    assert render(problem, mode) == asked


@pytest.mark.parametrize("name", NAMED)
def test_calls_of_tools_are_shown_or_refused(name: PromptType) -> None:
    made = tokenizer(FORM.get(name, "plain"))
    row = Conversation(CALLED, (TOOL,), name)
    if name is not PromptType.QWEN2_5:
        with pytest.raises(StageError, match=rf"{name.value} has no place for tools") as refused:
            Renderer(made).conversation(row, "rows:1")
        assert refused.value.reason in (FailureReason.DATASET_INVALID, FailureReason.MODEL_INVALID)
        bare = Conversation(CALLED, prompt_type=name)
        if name is not PromptType.TOOL_LLAMA:
            with pytest.raises(StageError, match=rf"rows:1: .*{name.value} has no place for"):
                Renderer(made).conversation(bare, "rows:1")
            return
        encoded = Renderer(made).conversation(bare, "rows:1")
        assert made.decode(encoded[0]).endswith(
            'Assistant:\n\nAction: add\nAction Input: {"a": 1, "b": "ä"}</s>\nFunction: 3\nFunction: 4\n'
            "Assistant:\nthree</s>\n"
        )
        return
    encoded = Renderer(made).conversation(row, "rows:1")
    text = made.decode(encoded[0])
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in text
    assert learned(made, encoded) == [
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "ä"}}\n</tool_call><|im_end|>',
        "three<|im_end|>",
    ]
    assert (
        "<|im_start|>user\n<tool_response>\n3\n</tool_response>\n<tool_response>\n4\n</tool_response><|im_end|>\n"
        in text
    )


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.timeout(120)
def test_llama_cpp_makes_the_same_prompt(name: PromptType, model: Path, f16: Path, tmp_path: Path) -> None:
    needs_llama_server()
    file = tmp_path / "template.jinja"
    own = load_tokenizer(model)
    file.write_text(prompt_types.source(name, begins=own.bos_token is not None) or "")
    port = free_port()
    words = ["--model", str(f16), "--jinja", "--chat-template-file", str(file), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*find_server(), *words], stdout=log, stderr=log)
    talk_ = [
        {"role": "system", "content": "for numbers"},
        *({"role": role, "content": said} for role, said in (("user", "sum x"), ("assistant", "return 1"))),
        {"role": "user", "content": "max x"},
    ]
    try:
        wait_for(lambda: _healthy(port), "llama-server", timeout=60)
        for messages in (talk_, talk_[1:]):
            made = _post(port, "/apply-template", {"messages": messages})["prompt"]
            wanted = own.apply_chat_template(
                messages, chat_template=prompt_types.source(name), tokenize=False, add_generation_prompt=True
            )
            assert made == wanted
    finally:
        stop_process(process)


def _healthy(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
    except OSError:
        return False
    return True


def _post(port: int, route: str, body: dict[str, Any]) -> Any:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


def rows(folder: Path, *types: str | None) -> Path:
    """The documented row, once for each of the types; None: it names none."""
    turns = [{"from": "human", "value": "sum of x"}, {"from": "assistant", "value": "return x"}]
    made = [{"conversations": turns} | ({"prompt_type": name} if name else {}) for name in types]
    return write(made, folder / "rows.jsonl")


SHORT = ["--max_steps", "2", "--model_max_length", "200", "--lora_r", "4", "--eval_dataset_size", "0"]
ASKED = {
    PromptType.ALPACA: "### Instruction:\nsum of x\n\n### Response:\n",
    PromptType.LLAMA2: "[INST] sum of x [/INST]",
    PromptType.TOOL_LLAMA: "User: sum of x\nAssistant:\n",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("types", "flags", "asked"),
    [
        ("alpaca alpaca", (), ASKED[PromptType.ALPACA]),
        ("llama2 llama2", ("--prompt_type", "alpaca"), ASKED[PromptType.ALPACA]),
        ("llama2 none alpaca", (), ASKED[PromptType.LLAMA2]),
        ("none llama2", ("--prompt_type", "tool-llama-single-round"), ASKED[PromptType.TOOL_LLAMA]),
        ("alpaca alpaca", ("--prompt_type", "chat_template"), None),
        (
            "alpaca alpaca",
            ("--chat_template", "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"),
            "<sum of x>",
        ),
    ],
)
def test_what_holds_is_told_by_the_first_rows_text(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    types: str,
    flags: tuple[str, ...],
    asked: str | None,
) -> None:
    file = rows(tmp_path, *(None if name == "none" else name for name in types.split()))
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        str(file),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main([*words, *SHORT, *flags, "--dry_run", "-o", "json"]) == 0
    pieces = json.loads(capsys.readouterr().out)["row"]["pieces"]
    if asked is None:
        asked = load_tokenizer(model).apply_chat_template(
            [{"role": "user", "content": "sum of x"}], tokenize=False, add_generation_prompt=True
        )
    before = itertools.takewhile(lambda piece: not piece["learned"], pieces)
    assert "".join(piece["text"] for piece in before).endswith(asked)


@pytest.mark.timeout(300)
def test_a_model_keeps_the_type_that_all_its_rows_name(model: Path, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(model), "--dataset", str(rows(tmp_path, *["alpaca"] * 4))]
    assert main([*words, *SHORT, "--output_dir", str(tmp_path / "out")]) == 0
    kept = tmp_path / "out" / "latest" / "adapter_model" / "chat_template.jinja"
    assert kept.read_text() == prompt_types.source(PromptType.ALPACA, begins=False)


def test_of_several_types_none_is_the_models(caplog: pytest.LogCaptureFixture) -> None:
    mixed = settled(Tokenizer(), {PromptType.ALPACA, PromptType.RAW, None})
    assert mixed == (Tokenizer(), True)
    assert "the rows name several prompt types (alpaca, none, raw)" in caplog.text
    assert settled(Tokenizer(), {None}) == settled(Tokenizer(), ()) == (Tokenizer(), False)
    caplog.clear()
    assert settled(Tokenizer(), {PromptType.CHAT_TEMPLATE}) == (Tokenizer(), False)
    assert settled(Tokenizer(), {PromptType.CHAT_TEMPLATE, None}) == (Tokenizer(), False)
    assert not caplog.text, "both are the model's own"
    told = Tokenizer(prompt_type=PromptType.RAW, eos_token="</s>")
    assert settled(told, {None, PromptType.ALPACA}) == (told, False)
    assert settled(Tokenizer(), {PromptType.RAW}) == (Tokenizer(prompt_type=PromptType.RAW), False)
    own = Tokenizer(prompt_type=PromptType.CHAT_TEMPLATE)
    assert settled(own, {PromptType.RAW}) == (Tokenizer(), False)


def test_every_type_has_a_template_that_is_taken(model: Path, tmp_path: Path) -> None:
    for name in NAMED:
        assert (
            prepare(model, settled(Tokenizer(prompt_type=name), ()).settings, tmp_path / name)
            == tmp_path / name
        )
    folder = Path(prompt_types.__file__).parent
    assert {path.stem for path in folder.glob("*.jinja")} == {name.value for name in NAMED}
