"""Run Python that a model wrote: each program in a process of its own that can harm nothing and cannot fake a pass.

Import-light on purpose: the supervisor of every sample imports this package, some hundred times an evaluation.
"""
