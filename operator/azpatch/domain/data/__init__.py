"""Data that ships with azpatch: the revisions of the support matrix."""
