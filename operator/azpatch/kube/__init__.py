"""Kubernetes: the port, and its adapter, the only place that imports the kubernetes client."""
