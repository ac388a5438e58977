"""The checker of the lock sees a lock that comes late, goes early, or is half."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from test_invariants import OURS, START, WEB, Written

from judging.lock import FINALIZER, Version, lock_kept

MINUTE = timedelta(minutes=1)
BEGINS, ENDS = START + 2 * MINUTE, START + 3 * MINUTE
"""Of the operation that `Written` writes."""


def version(
    time: datetime, attempt: str | None, locked: bool = True, uid: str = "one", machine: str = WEB
) -> Version:
    status: dict[str, Any] = {} if attempt is None else {"operation": {"attemptId": attempt}}
    finalizers = [FINALIZER] if locked else []
    meta = {"uid": uid, "finalizers": finalizers}
    return Version(time, {"metadata": meta, "spec": {"machineId": machine}, "status": status})


INTENT = version(BEGINS - MINUTE, "attempt")
RELEASED = version(ENDS + timedelta(seconds=5), None, locked=False)


def written() -> Written:
    journal = Written()
    journal.start("Install")
    journal.end()
    journal.assess(WEB.replace("web", "db"), "later")
    return journal


@pytest.mark.parametrize(
    ("versions", "complaint"),
    [
        pytest.param([INTENT, RELEASED], None, id="held all the time"),
        pytest.param(
            [INTENT, RELEASED, version(BEGINS, None, False, uid="other")],
            None,
            id="another policy's PatchTarget is without",
        ),
        pytest.param([], "began without its lock", id="never recorded"),
        pytest.param(
            [version(BEGINS + timedelta(seconds=1), "attempt"), RELEASED],
            "began without its lock",
            id="recorded after it began",
        ),
        pytest.param(
            [version(BEGINS - MINUTE, "attempt", locked=False), RELEASED],
            "began without its lock",
            id="without the finalizer",
        ),
        pytest.param(
            [version(BEGINS - MINUTE, "another"), RELEASED],
            "began without its lock",
            id="of another attempt",
        ),
        pytest.param(
            [INTENT, version(ENDS - timedelta(seconds=5), None)],
            "lost its lock",
            id="struck from the status before the end",
        ),
        pytest.param(
            [INTENT, version(ENDS - timedelta(seconds=5), "attempt", locked=False)],
            "lost its lock",
            id="the finalizer taken off before the end",
        ),
    ],
)
def test_an_operation_goes_on_under_its_lock(
    versions: list[Version], complaint: str | None
) -> None:
    journal = written().journal
    db = version(START, "attempt", uid="db", machine=WEB.replace("web", "db"))
    broken = lock_kept(journal, [*versions, db], OURS)
    assert [one.split(": ")[-1].split(" at ")[0] for one in broken] == (
        [complaint] if complaint else []
    )


def test_what_was_written_after_the_journal_is_not_judged() -> None:
    journal = Written()
    journal.start("Install")
    assert lock_kept(journal.journal, [INTENT, RELEASED], OURS) == []
