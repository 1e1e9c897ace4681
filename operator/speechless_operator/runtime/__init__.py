"""Everything that talks, waits or looks at a clock: the only part of the operator with input and output."""
