"""The steps of an assessment and of an install, as requests that a gate sees pass."""

from __future__ import annotations

import re
import threading

from lab.gate import Passing

LOCK = "azpatch.dev/operation"
"""The finalizer."""

ASSESSMENT = (
    "its PatchTarget is created",
    "its policy is locked",
    "its subscription is locked",
    "it is looked at",
    "it is locked",
    "the intent of the assessment",
    "the assessment",
    "the start of the assessment is written",
    "the operation is read",
    "the result of the assessment is written",
    "it is unlocked",
    "the policy's status",
)
"""Of the first one of a machine."""

INSTALL = (
    "the intent of the install",
    "the install",
    "the start of the install is written",
)
"""Its result is written with the intent that follows."""

REASSESSMENT = (
    "the intent of the re-assessment",
    "the re-assessment",
    "the start of the re-assessment is written",
    "the event of the install",
    "the result of the re-assessment is written",
)

END = ("its policy is unlocked", "its subscription is unlocked", "the subscription's status")

AZURE_STEPS = frozenset(
    {
        "the assessment",
        "the install",
        "the re-assessment",
        "the operation is read",
        "it is looked at",
    }
)
"""These go to Azure, the others to the API server."""

_KINDS = {
    "patchtargets": "it",
    "patchpolicies": "its policy",
    "azuresubscriptions": "its subscription",
}
_STATES = {"Intent": "the intent of", "Started": "the start of", "Unconfirmed": "the doubt about"}
_OBJECT = re.compile(
    r"/apis/azpatch\.dev/v1alpha1/(?:namespaces/[^/]+/)?(?P<kind>\w+)(?:/[^/]+)?(?P<status>/status)?"
)
_MACHINE = re.compile(
    r"(?P<id>/subscriptions/.+/virtualMachines/[^/]+)(?:/(?P<verb>assessPatches|installPatches))?",
    re.I,
)


class Steps:
    """Names requests. It has to be shown (`seen`) what goes on, by both gates."""

    def __init__(self) -> None:
        self._in_flight: dict[str, str] = {}
        """By the path of a PatchTarget's status: the operation that it has, in words."""
        self._installed: set[str] = set()
        """Machines that an install was sent to."""
        self._lock = threading.Lock()

    def name(self, passing: Passing) -> str | None:
        """The step that a request is; None: none of those above."""
        with self._lock:
            return self._of_machine(passing) or self._of_object(passing)

    def seen(self, passing: Passing) -> None:
        """A request went on to its server."""
        with self._lock:
            if passing.method == "PUT" and passing.path.endswith("/status"):
                operation = self._operation(passing)
                if operation is None:
                    self._in_flight.pop(passing.path, None)
                else:
                    self._in_flight[passing.path] = operation
            found = _MACHINE.fullmatch(passing.path)
            if found and (found["verb"] or "").lower() == "installpatches":
                self._installed.add(found["id"].lower())

    def _of_machine(self, passing: Passing) -> str | None:
        if passing.method == "GET" and "/operations/" in passing.path:
            return "the operation is read"
        found = _MACHINE.fullmatch(passing.path)
        if found is None:
            return None
        if passing.method == "GET":
            return "it is looked at"
        if (found["verb"] or "").lower() == "installpatches":
            return "the install"
        return f"the {'re-' if found['id'].lower() in self._installed else ''}assessment"

    def _of_object(self, passing: Passing) -> str | None:
        if passing.method == "POST" and passing.path.endswith("/events"):
            return "the event of the install"
        found = _OBJECT.fullmatch(passing.path)
        if found is None or found["kind"] not in _KINDS:
            return None
        what = _KINDS[found["kind"]]
        if passing.method == "POST":
            return "its PatchTarget is created"
        if passing.method == "PATCH":
            locked = LOCK in passing.json["metadata"]["finalizers"]
            return f"{what} is {'locked' if locked else 'unlocked'}"
        if passing.method != "PUT" or not found["status"]:
            return None
        if what != "it":
            return f"{what.replace('its', 'the', 1)}'s status"
        return self._of_status(passing)

    def _of_status(self, passing: Passing) -> str | None:
        before, operation = self._in_flight.get(passing.path), self._operation(passing)
        if operation is None:
            return f"the result of {before} is written" if before else None
        state = passing.json["status"]["operation"]["state"]
        written = "" if state == "Intent" else " is written"
        return f"{_STATES[state]} {operation}{written}"

    @staticmethod
    def _operation(passing: Passing) -> str | None:
        status = (passing.json or {}).get("status") or {}
        operation = status.get("operation")
        if operation is None:
            return None
        if operation["kind"] == "Install":
            return "the install"
        return f"the {'re-' if 'installation' in status else ''}assessment"
