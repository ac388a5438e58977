"""azpatch: a Kubernetes operator that keeps the operating systems of Azure machines patched."""

__version__ = "0.1.0"
