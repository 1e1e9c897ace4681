"""The Kubernetes operator of Speechless.

The folder above is called `operator/`, this package `speechless_operator`: a package called `operator` would hide the
standard library's. Of the library it imports `speechless.contract` and nothing else.
"""
