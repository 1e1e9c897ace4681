"""How a problem is put to a model, and how the code is taken out of the answer.

`raw` is the benchmark as published: the prompt unchanged, trailing newline included, and the paper's stop strings. The
others ask an instruction-tuned model for a whole function. Scores of different modes cannot be compared: the mode is
recorded.
"""

from enum import StrEnum

from speechless.eval import extract
from speechless.eval.humaneval.problems import Problem
from speechless.generate import Message

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Chen et al., 2021, section 2.3: what begins something after the function."""

INSTRUCTION = (
    "Complete the following Python function. Answer with the whole function in one Python code block.\n\n"
    "```python\n{prompt}\n```"
)

_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
_CHATLM = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
)
_LLAMA2 = "[INST] {instruction} [/INST]"


class PromptMode(StrEnum):
    """The command line's `--prompt_type`; a training under the same name has the same words."""

    RAW = "raw"
    CHAT_TEMPLATE = "chat_template"
    ALPACA = "alpaca"
    CHATLM = "chatlm"
    LLAMA2 = "llama2"


_TEMPLATES = {PromptMode.ALPACA: _ALPACA, PromptMode.CHATLM: _CHATLM, PromptMode.LLAMA2: _LLAMA2}


def stops(mode: PromptMode) -> tuple[str, ...]:
    """The stop strings of a mode. A whole function in an answer must not be cut at its own `def`."""
    match mode:
        case PromptMode.RAW:
            return STOP
        case PromptMode.CHATLM:
            return ("<|im_end|>",)
        case PromptMode.ALPACA:
            return ("\n### Instruction:",)
        case _:
            return ()


def render(problem: Problem, mode: PromptMode) -> str:
    """The text that is continued. `chat_template` has none: see `conversation`."""
    if mode is PromptMode.RAW:
        return problem.prompt
    return _TEMPLATES[mode].format(instruction=_instruction(problem))


def conversation(problem: Problem) -> list[Message]:
    """The messages for the model's own chat template."""
    return [{"role": "user", "content": _instruction(problem)}]


def completion_of(answer: str, problem: Problem, mode: PromptMode) -> str:
    """The completion in an answer: what follows the problem's prompt in the program that is run.

    A whole function becomes a second definition after the prompt's, whose body is its docstring alone.
    """
    if mode is PromptMode.RAW:
        return answer
    code = extract.python(answer.removeprefix("\ufeff"), problem.entry_point)
    return "\n" + code if extract.defines(code, problem.entry_point) else code


def sample_of(answer: str, problem: Problem, mode: PromptMode) -> dict[str, str]:
    """A row of a file of samples: `task_id` and `completion`, as openai/human-eval has them.

    `solution`, evalplus's key for a whole program, stands beside them where the prompt and the completion are none:
    imports from `__future__` have to be at the beginning.
    """
    completion = completion_of(answer, problem, mode)
    row = {"task_id": problem.task_id, "completion": completion}
    imports, rest = ("", "") if mode is PromptMode.RAW else extract.future_imports(completion)
    return row | ({"solution": imports + problem.prompt + rest} if imports else {})


def _instruction(problem: Problem) -> str:
    return INSTRUCTION.format(prompt=problem.prompt.rstrip("\n"))
