"""`make demo`: from a fresh machine to an answer from the served model, with what happens shown as it happens.

The demo itself is `examples/demo`: manifests that anyone may apply to any cluster. This package brings up a cluster of
hack/cluster, builds the images, installs the chart, applies the manifests, watches, and asks the served model.
"""
