"""The tiny tasks: right answers, and nothing that is held out where it is trained."""
