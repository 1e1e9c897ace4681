"""The tests, in three tiers: README.md tells what belongs where."""
