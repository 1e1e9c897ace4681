"""Task directories, flags, checkpoints and outputs, without torch."""
