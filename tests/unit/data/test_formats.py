"""Every shape of a row: what it becomes, and what is wrong with one that does not fit."""

from typing import Any

import pytest

from speechless.contract import DatasetFormat, PromptType
from speechless.data import (
    FORMATS,
    Conversation,
    Message,
    Preference,
    Prompt,
    Rated,
    Role,
    RowError,
    Text,
    detect,
    read,
)

ASKED, SAID = Message(Role.USER, "2+2?"), Message(Role.ASSISTANT, "4")
BRIEF = Message(Role.SYSTEM, "Be brief.")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def turns(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def talk(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in pairs]}


def example_of(row: object) -> object:
    found = detect(row)
    assert found is not None
    return read(row, found.name)


@pytest.mark.parametrize(
    ("row", "example"),
    [
        (turns(("user", "2+2?"), ("assistant", "4")), Conversation((ASKED, SAID))),
        (
            turns(("developer", "Be brief."), ("user", "2+2?"), ("assistant", "4")),
            Conversation((BRIEF, ASKED, SAID)),
        ),
        (
            turns(("user", "2+2?"), ("assistant", "4"))
            | {"system": "Be brief.", "category": "sum", "tools": []},
            Conversation((BRIEF, ASKED, SAID)),
        ),
        (
            turns(("user", "2+2?"), ("assistant", "4")) | {"prompt_type": "chatml"},
            Conversation((ASKED, SAID), prompt_type=PromptType.CHATLM),
        ),
        (
            talk(("human", "2+2?"), ("assistant", "4"))
            | {"prompt_type": "alpaca", "system_prompt": "Be brief."},
            Conversation((BRIEF, ASKED, SAID), prompt_type=PromptType.ALPACA),
        ),
        (turns(("user", "2+2?"), ("assistant", "4")) | {"prompt_type": ""}, Conversation((ASKED, SAID))),
        (
            {"instruction": "2+2?", "response": "4", "prompt_type": "raw", "skip_prompt_formatting": False},
            Conversation((ASKED, SAID), prompt_type=PromptType.RAW),
        ),
        ({"instruction": "2+2=", "response": "4", "skip_prompt_formatting": True}, Text("4", "2+2=")),
        (
            {"messages": '[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]'},
            Conversation((ASKED, SAID)),
        ),
        (
            turns(
                ("user", [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]), ("assistant", "4")
            ),
            Conversation((ASKED, SAID)),
        ),
        # The row that the seed documents.
        (
            talk(("human", "2+2?"), ("assistant", "4")) | {"system_prompt": "Be brief.", "category": "sum"},
            Conversation((BRIEF, ASKED, SAID)),
        ),
        # An empty system message is none: ShareGPT's have many.
        (turns(("system", " "), ("user", "2+2?"), ("assistant", "4")), Conversation((ASKED, SAID))),
        (talk(("system", ""), ("human", "2+2?"), ("gpt", "4")), Conversation((ASKED, SAID))),
        (
            talk(("system", ""), ("human", "2+2?"), ("gpt", "4")) | {"system": "Be brief."},
            Conversation((BRIEF, ASKED, SAID)),
        ),
        (talk(("human", "2+2?"), ("gpt", "4")), Conversation((ASKED, SAID))),
        (
            {"conversations": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
            Conversation((ASKED, SAID)),
        ),
        ({"instruction": "2+2?", "input": "", "output": "4"}, Conversation((ASKED, SAID))),
        # LightLLM's: no instruction beside it, and no template around it.
        ({"input": "2+2? ", "output": "4", "id": 7}, Text("4", "2+2? ")),
        (
            {
                "instruction": "Add.",
                "input": "2, 2",
                "output": "4",
                "system": "Be brief.",
                "history": [["Hi", "Hello"]],
            },
            Conversation(
                (
                    BRIEF,
                    Message(Role.USER, "Hi"),
                    Message(Role.ASSISTANT, "Hello"),
                    Message(Role.USER, "Add.\n2, 2"),
                    SAID,
                )
            ),
        ),
        ({"instruction": "2+2?", "response": "4"}, Conversation((ASKED, SAID))),
        ({"prompt": "2+2=", "completion": "4"}, Text("4", "2+2=")),
        ({"text": "2+2=4", "id": 7}, Text("2+2=4")),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, Preference("2+2?", "4", "5")),
        (
            {"system_prompt": "Be brief.", "prompt": "2+2?", "chosen": "4", "rejected": "5"},
            Preference(
                (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "2+2?")),
                (Message(Role.ASSISTANT, "4"),),
                (Message(Role.ASSISTANT, "5"),),
            ),
        ),
        (
            {
                "chosen": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}],
                "rejected": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5"}],
            },
            Preference((ASKED,), (SAID,), (Message(Role.ASSISTANT, "5"),)),
        ),
        (
            {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5"},
            Preference((ASKED,), (SAID,), (Message(Role.ASSISTANT, "5"),)),
        ),
        ({"prompt": "2+2?", "completion": "4"}, Text("4", "2+2?")),
        ({"prompt": "2+2?", "completion": "4", "system": "Be brief."}, Conversation((BRIEF, ASKED, SAID))),
        (
            {
                "prompt": turns(("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"))["messages"],
                "completion": turns(("assistant", "4"))["messages"],
            },
            Conversation(
                (
                    Message(Role.USER, "1+1?"),
                    Message(Role.ASSISTANT, "2", trained=False),
                    ASKED,
                    SAID,
                )
            ),
        ),
        ({"prompt": "2+2?", "completion": "4", "label": True}, Rated(Text("4", "2+2?"), good=True)),
        (
            {"prompt": "2+2?", "completion": "5", "kto_tag": False, "system": "Be brief."},
            Rated(Conversation((BRIEF, ASKED, Message(Role.ASSISTANT, "5"))), good=False),
        ),
        (
            {
                "prompt": [{"role": "user", "content": "2+2?"}],
                "completion": [{"role": "assistant", "content": "4"}],
                "label": True,
            },
            Rated(Conversation((ASKED, SAID)), good=True),
        ),
        ({"prompt": "2+2?", "answer": "4", "id": 1}, Prompt("2+2?", {"answer": "4"})),
        (
            {
                "data_source": "gsm8k",
                "prompt": [{"role": "user", "content": "2+2?"}],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": "4"},
                "extra_info": {"split": "train"},
            },
            Prompt(
                (ASKED,),
                {
                    "reward_model": {"style": "rule", "ground_truth": "4"},
                    "ability": "math",
                    "data_source": "gsm8k",
                    "extra_info": {"split": "train"},
                },
            ),
        ),
    ],
)
def test_a_row_is_told_by_its_keys_and_becomes_an_example(row: object, example: object) -> None:
    assert example_of(row) == example


@pytest.mark.parametrize("name", ["messages", "conversations"])
def test_of_a_rated_conversation_the_last_answer_is_judged(name: str) -> None:
    pairs = ("2+2?", "4", "3+3?", "7")
    row: dict[str, Any]
    if name == "messages":
        row = turns(*zip(("user", "assistant") * 2, pairs, strict=True)) | {"label": False}
    else:
        row = talk(*zip(("human", "gpt") * 2, pairs, strict=True)) | {"kto_tag": False}
    again, bad = Message(Role.USER, "3+3?"), Message(Role.ASSISTANT, "7")
    read_only = Message(Role.ASSISTANT, "4", trained=False)
    rated = Rated(Conversation((ASKED, read_only, again, bad)), good=False)
    assert read(row, DatasetFormat.UNPAIRED_PREFERENCE) == rated


@pytest.mark.parametrize(
    ("name", "row"),
    [
        (DatasetFormat.CHIP2, {"text": "<human>: 2+2?\n<bot>: 4"}),
        (DatasetFormat.OASST1, {"text": "### Human: 2+2?### Assistant: 4"}),
        (DatasetFormat.HH_RLHF, {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "x"}),
    ],
)
def test_marked_texts_are_read_by_the_formats_name(name: DatasetFormat, row: object) -> None:
    assert read(row, name) == Conversation((ASKED, SAID))


def test_tools_and_their_calls_become_what_templates_take() -> None:
    openai = {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "assistant", "content": "4"},
        ],
        "tools": TOOLS,
    }
    made = example_of(openai)
    assert isinstance(made, Conversation)
    assert made.tools == tuple(TOOLS)
    assert made.messages[1] == Message(Role.ASSISTANT, "", ({**CALL, "id": "c1"},))
    assert made.messages[2] == Message(Role.TOOL, "4", tool_call_id="c1")
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "2+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "4"},
        ],
        "tools": '[{"name": "add", "parameters": {}}]',
    }
    other = example_of(sharegpt)
    assert isinstance(other, Conversation)
    assert other.tools == tuple(TOOLS)
    assert [message.role for message in other.messages] == [message.role for message in made.messages]
    assert other.messages[1].tool_calls == (CALL,)


def test_a_turn_that_is_not_to_be_trained_is_marked() -> None:
    row = turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    row["messages"][1]["weight"] = 0
    row["messages"][3]["weight"] = 1
    made = example_of(row)
    assert isinstance(made, Conversation)
    assert [message.trained for message in made.messages] == [True, False, True, True]
    row["messages"][1] = {"role": "assistant", "content": "b", "train": False}
    assert example_of(row) == made


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"messages": []}, "'messages' is missing, empty"),
        ({"messages": "hi"}, "not a list"),
        ({"messages": "[hi"}, "a text that is no JSON"),
        ({"messages": ["hi"]}, "message 1 is a string, not an object"),
        ({"messages": [{"role": "user"}]}, "message 1: 'content' is missing"),
        (turns(("human", "a"), ("assistant", "b")), "role 'human' is none of"),
        (turns((["user"], "a")), "is none of"),
        (turns(("assistant", "b")), "role 'assistant' where system or user is due"),
        (turns(("user", "a"), ("user", "b")), "message 2: role 'user' where assistant is due"),
        (
            turns(("user", "a"), ("assistant", "b"), ("assistant", "c")),
            "message 3: role 'assistant' where user",
        ),
        (turns(("user", "a"), ("assistant", "b"), ("system", "c")), "role 'system' where user is due"),
        (turns(("system", "a"), ("assistant", "b")), "role 'assistant' where user is due"),
        (turns(("system", "")), "the last message is the system's"),
        (turns(("user", "a"), ("system", ""), ("assistant", "b")), "role 'system' where assistant is due"),
        (turns(("user", "a")), "the last message is the user's"),
        (turns(("user", "a"), ("tool", "b"), ("assistant", "c")), "role 'tool' where assistant is due"),
        (turns(("user", "a"), ("assistant", " \n")), "message 2: 'content' is empty"),
        (turns(("user", 5), ("assistant", "b")), "message 1: 'content' is a number, not a string"),
        (turns(("user", [{"type": "image"}]), ("assistant", "b")), "a part of 'content' is image: only text"),
        (turns(("user", "a"), ("assistant", "\ud800b")), "half of a surrogate pair at character 1"),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "function_call": {"name": "f"}, "content": ""},
                ]
            },
            "'function_call' changes what is learned, and is not read",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "weight": 0},
                ]
            },
            "no message of the assistant is trained",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "weight": 0.5},
                ]
            },
            "message 2: 'weight' is 0.5: 0 (not trained) or 1",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a", "train": True},
                    {"role": "assistant", "content": "b"},
                ]
            },
            "asks to train on what the user says",
        ),
        (turns(("system", "a"), ("user", "b"), ("assistant", "c")) | {"system": "d"}, "a second system text"),
        (turns(("user", "b"), ("assistant", "c")) | {"weight": 0.5}, "'weight' changes what is learned"),
        (
            turns(("user", "b"), ("assistant", "c")) | {"images": ["a.png"]},
            "'images' changes what is learned",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "thinking": "c"},
                ]
            },
            "message 2: 'thinking' changes what is learned, and is not read",
        ),
        (
            talk(("human", "a"), ("gpt", "b")) | {"prompt_type": "alpacca"},
            "'prompt_type' is 'alpacca': there are chat_template, alpaca, chatlm, chatml,",
        ),
        (talk(("human", "a"), ("gpt", "b")) | {"prompt_type": 3}, "'prompt_type' is a number, not a string"),
        ({"prompt": "a", "completion": "b", "prompt_type": "raw"}, "'prompt_type' changes what is learned"),
        ({"instruction": "a", "response": "b", "skip_prompt_formatting": 1.5}, "a number, not true or false"),
        (
            {"instruction": "a", "response": "b", "skip_prompt_formatting": True, "system": "c"},
            "'skip_prompt_formatting' leaves no place for 'system'",
        ),
        (talk(("human", "a"), ("gpt", "")), "message 2: 'value' is empty"),
        (talk(("nobody", "a")), "role 'nobody' is none of"),
        ({"instruction": "a", "output": ""}, "'output' is empty"),
        ({"instruction": "a", "output": "b", "tools": [{}]}, "'tools' changes what is learned"),
        ({"instruction": "a", "output": "b", "history": ["a"]}, "'history': turn 1 is no pair"),
        ({"prompt": "a", "completion": ""}, "'completion' is empty"),
        ({"prompt": " ", "completion": "b"}, "'prompt' is empty"),
        ({"prompt": [], "completion": "b"}, "'prompt' is an empty list"),
        ({"prompt": "a", "completion": "b", "label": "yes"}, "'label' says whether the answer is good"),
        (
            {"prompt": "a", "completion": "b", "label": True, "kto_tag": True},
            "'label' and 'kto_tag' are both",
        ),
        ({"prompt": "a", "completion": None}, "'completion' is null, not a string"),
        ({"prompt": "a", "completion": 1.5}, "'completion' is a number, not a string"),
        ({"prompt": "a", "completion": "b", "history": ["c"]}, "'history' changes what is learned"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "there is nothing to prefer"),
        ({"chosen": "b", "rejected": "c"}, "'prompt' is missing"),
        ({"prompt": [{"role": "assistant", "content": "a"}], "answer": "b"}, "nothing left to answer"),
    ],
)
def test_what_is_wrong_with_a_row(row: object, what: str) -> None:
    with pytest.raises(RowError) as refused:
        example_of(row)
    assert what in str(refused.value)


@pytest.mark.parametrize("row", [[1], None, True, "text"])
def test_a_row_is_an_object(row: object) -> None:
    assert detect(row) is None
    with pytest.raises(RowError, match="a row is an object, this is"):
        read(row, DatasetFormat.MESSAGES)


def test_keys_of_nothing_known_tell_nothing() -> None:
    assert detect({"prompt": "a"}) is None
    assert detect({}) is None


def test_every_format_has_a_row_in_the_table_and_a_value_of_the_flag() -> None:
    assert {row.name for row in FORMATS} == set(DatasetFormat) - {DatasetFormat.AUTO}
    assert all(row.flags for row in FORMATS)
    flags = [flag for row in FORMATS for flag in row.flags]
    assert len(flags) == len(set(flags))
    documented = "conversations messages dialog multi-rounds input-output instruction-input-response alpaca"
    documented += " alpaca-clean chip2 self-instruct hh-rlhf oasst1 airoboros mistral llama2"
    assert set(documented.split()) <= set(flags)
