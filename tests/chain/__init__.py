"""The whole chain on a real cluster: the demo, and how it behaves when something goes wrong."""
