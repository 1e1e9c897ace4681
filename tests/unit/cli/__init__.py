"""The two commands: `speechless`, which finds its commands by itself, and `speechless-operator`."""
