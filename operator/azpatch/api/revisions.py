"""The revisions of the support matrix that ship with azpatch: one for each file of them."""

from __future__ import annotations

from importlib import resources

_PREFIX, _SUFFIX = "matrix-", ".yaml"


def _found() -> tuple[str, ...]:
    # The data belongs to the domain, which the API must not import; its names are all it needs.
    files = resources.files("azpatch").joinpath("domain", "data").iterdir()
    return tuple(
        sorted(
            file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            for file in files
            if file.name.startswith(_PREFIX) and file.name.endswith(_SUFFIX)
        )
    )


REVISIONS = _found()
"""Their names, oldest first."""
