"""HumanEval: complete a Python function from its docstring, scored by unit tests (Chen et al., 2021, arXiv:2107.03374).

The formats of problems, samples and results are those of https://github.com/openai/human-eval.
"""
