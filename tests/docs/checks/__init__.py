"""What can be said of a command or a block without running it.

Each check is a function that answers "" or what is wrong. A new program is a function and a line in `by_program.py`.
"""
