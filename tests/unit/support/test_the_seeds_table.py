"""The table that the project began from, printed by the command line from the data that ships.

"Manage updates for customized images", 2 May 2023, Limitations: every cell, as the document has it.
"""

from __future__ import annotations

import subprocess
import sys

from lab.processes import python_env

DOCUMENT = """
Azure Compute Gallery: Generalized images
    On demand assessment
    On demand patching
    Periodic assessment
    Scheduled patching
  unsupported
    Automatic VM guest patching
Azure Compute Gallery: Specialized images
    On demand assessment
    On demand patching
  unsupported
    Periodic assessment
    Scheduled patching
    Automatic VM guest patching
Non-Azure Compute Gallery images (non-SIG)
    None
  unsupported
    On demand assessment
    On demand patching
    Periodic assessment
    Scheduled patching
    Automatic VM guest patching
"""

IMAGES = {
    "Azure Compute Gallery: Generalized images": "GalleryGeneralized",
    "Azure Compute Gallery: Specialized images": "GallerySpecialized",
    "Non-Azure Compute Gallery images (non-SIG)": "NonGallery",
}
"""The document's words, and Azure's own where azpatch has them in one."""

SCENARIOS = {
    "On demand assessment": "OnDemandAssessment",
    "On demand patching": "OnDemandPatching",
    "Periodic assessment": "PeriodicAssessment",
    "Scheduled patching": "ScheduledPatching",
    "Automatic VM guest patching": "AutomaticGuestPatching",
    "None": "None",
}

Cells = dict[str, tuple[list[str], list[str]]]
"""Image → what is supported, what is not."""


def documented() -> Cells:
    cells: Cells = {}
    side = 0
    for line in DOCUMENT.strip().splitlines():
        if not line.startswith(" "):
            image, side = IMAGES[line], 0
            cells[image] = ([], [])
        elif line.strip() == "unsupported":
            side = 1
        else:
            cells[image][side].append(SCENARIOS[line.strip()])
    return cells


def printed(out: str) -> Cells:
    """The cells of the table, by the columns of its head; a cell has a line for each entry."""
    lines = iter(out.splitlines())
    head = next(line for line in lines if line.startswith("IMAGE CLASS"))
    supported, unsupported = head.index("SUPPORTED"), head.index("UNSUPPORTED")
    cells: Cells = {}
    for line in lines:
        if not line:
            break
        if image := line[:supported].strip():
            cells[image] = ([], [])
        last = list(cells)[-1]
        for side, cell in enumerate((line[supported:unsupported], line[unsupported:])):
            if cell.strip():
                cells[last][side].append(cell.strip())
    return cells


def test_the_command_prints_the_table_of_the_document_cell_by_cell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "azpatch", "support", "--revision", "2023-05"],
        env=python_env(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed(done.stdout) == documented()
    assert done.stdout.startswith(
        "Support matrix 2023-05: Update management center (preview)\n"
        '  "Manage updates for customized images", 2023-05-02\n'
    )
    assert '"VM Guest Patch Gallery Image Preview"' in done.stdout
