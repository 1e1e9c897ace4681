"""The operator as a process of its own against a real API server; the tests play the kubelet."""
