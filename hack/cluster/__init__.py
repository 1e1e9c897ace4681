"""A real Kubernetes on one Linux machine, without Docker, for the demo and the tests: see README.md.

Only the standard library is used, so that it runs before anything is installed:
`PYTHONPATH=hack python3 -m cluster --help`.
"""
