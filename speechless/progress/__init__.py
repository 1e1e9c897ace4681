"""How far long work is: one state, shown as a bar on a terminal or as log lines, and served by a stage."""

from speechless.progress.reporter import Reporter, showing

__all__ = ["Reporter", "showing"]
