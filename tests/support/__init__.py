"""What the tests of every tier share: a client, waiting, artifacts, faults, clusters, pod specs."""
