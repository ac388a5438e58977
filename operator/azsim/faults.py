"""What can be made to go wrong between a client and the simulated Azure, as a person writes it.

A `Fault` says which requests it is about and what happens to them, or what Resource Graph shows
wrongly. It is only the description: `door` lets it strike, `showing` distorts the view. What is
done to machines is in `meddling`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from azsim.calls import SIGN_IN, Call
from azsim.fleet import Duration, Model


class Operations(StrEnum):
    """Groups of operations. everything is sign-in too."""

    SIGN_IN = "signIn"
    EVERYTHING = "everything"


class Drop(StrEnum):
    """Whether a request whose connection ends is lost, or processed and its answer lost."""

    BEFORE = "Before"
    AFTER = "After"


class Garbage(StrEnum):
    """What comes in place of an answer's body."""

    HTML = "Html"
    TRUNCATED = "Truncated"
    EMPTY = "Empty"


class Graph(StrEnum):
    """What is wrong with what Resource Graph shows."""

    FROZEN = "Frozen"
    STALE = "Stale"
    MISSING = "Missing"


class Rows(StrEnum):
    """Which rows of a machine are missing: its own, those of the two patch tables, or both."""

    MACHINE = "Machine"
    PATCHES = "Patches"
    ALL = "All"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


class Delay(Model):
    """How long a request takes to arrive, and its answer to come back, in simulated time.

    A client that does not wait so long has sent its request all the same.
    """

    request: Duration = timedelta(0)
    answer: Duration = timedelta(0)

    @model_validator(mode="after")
    def _any(self) -> Self:
        _positive(self.request + self.answer)
        return self


_METHODS = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]


class Fault(Model):
    """Which requests, how often, and exactly one of `status`, `drop`, `delay`, `garbage`, `graph`.

    `operation` absent is everything but sign-in; `signIn` and `everything` are groups. `machine` is
    a resource id or a name, compared without case; absent, any request, also one about no machine.
    `skip` lets that many requests pass first, `count` is how often it strikes, `for` how long it
    lasts; without the last two it stays until it is removed. Of several faults a request meets the
    oldest, and the others do not see it.

    `status` answers in Azure's place, and nothing is processed; `code` and `message` are by default
    Azure's. `drop` ends the connection: Before, the request is lost; After, it is processed and the
    answer is lost. `delay` is how long both take. `garbage` processes the request and spoils the
    body of the answer: an HTML page, JSON cut in the middle, nothing; `stripHeaders` takes its
    headers too, among them the URL of an operation.

    `graph` is about what Resource Graph shows of `machine`, or of all. Frozen: no change, until
    all of them come in order at the end. Stale: an older replica, from before the latest assessment
    or installation showed up. Missing: `rows` are not there.
    """

    method: Annotated[
        _METHODS | None, BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v)
    ] = None
    operation: Call | Operations | None = None
    machine: Annotated[str, Field(min_length=1)] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] | None = None
    lasts: Annotated[Duration, Field(gt=timedelta(0))] | None = Field(None, alias="for")
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: Duration | None = None
    code: str | None = None
    message: str | None = None
    drop: Drop | None = None
    delay: Delay | None = None
    garbage: Garbage | None = None
    strip_headers: bool = False
    graph: Graph | None = None
    rows: Rows = Rows.ALL

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        effects = ("status", "drop", "delay", "garbage", "graph")
        given = [name for name in effects if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of {', '.join(effects)}, not {found}")
        for belongs_to, fields in _BELONGINGS.items():
            for field in fields:
                if belongs_to != given[0] and field in self.model_fields_set:
                    raise ValueError(f"{_alias(field)} goes with {belongs_to} only")
        if self.graph is not None:
            for field in ("method", "operation", "skip", "count"):
                if field in self.model_fields_set:
                    raise ValueError(f"graph is not about requests: it has no {field}")
        if self.graph is not Graph.MISSING and "rows" in self.model_fields_set:
            raise ValueError("rows goes with graph: Missing only")
        return self

    def is_about(self, machine_id: str | None) -> bool:
        """Whether it concerns a machine; None, that of a request about no machine."""
        if self.machine is None:
            return True
        if machine_id is None:
            return False
        wanted, found = self.machine.lower(), machine_id.lower()
        return wanted in (found, found.rsplit("/", 1)[-1])

    def is_about_request(self, method: str, call: Call, machine_id: str | None) -> bool:
        """Whether it concerns a request, whatever it has let pass so far."""
        if self.graph is not None or self.method not in (None, method.upper()):
            return False
        if self.operation is None:
            wanted = call not in SIGN_IN
        elif self.operation is Operations.SIGN_IN:
            wanted = call in SIGN_IN
        else:
            wanted = self.operation in (Operations.EVERYTHING, call)
        return wanted and self.is_about(machine_id)


_BELONGINGS = {
    "status": ("retry_after", "code", "message"),
    "garbage": ("strip_headers",),
    "graph": ("rows",),
}
"""Effect → the fields that say more about it."""


def _alias(field: str) -> str:
    return Fault.model_fields[field].alias or field


def azure_away(lasts: timedelta | None = None, drop: Drop = Drop.BEFORE) -> Fault:
    """All of Azure cannot be reached, sign-in neither."""
    return Fault(operation=Operations.EVERYTHING, drop=drop, lasts=lasts)


def sign_in_down(lasts: timedelta | None = None, status: int | None = 503) -> Fault:
    """Nobody can sign in: refused with `status`, or with None the connection ends."""
    if status is None:
        return Fault(operation=Operations.SIGN_IN, drop=Drop.BEFORE, lasts=lasts)
    return Fault(operation=Operations.SIGN_IN, status=status, lasts=lasts)
