"""What nobody has written down about Azure, drawn by seed.

For some refusals and results no public source gives the code, the words or even the kind of
answer. A client that works only with one guess must not pass here, so each is drawn anew from what
is plausible, once per simulated cloud.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from azsim.records import ErrorDetail, RebootStatus, Status


@dataclass(frozen=True)
class Quirks:
    """One draw."""

    not_running_code: str
    not_running_message: str
    """409 for an operation on a machine that does not run; `{vm}` is its name."""

    agent_refused: bool
    """Whether ARM refuses an operation (409) while the agent is not ready, or lets it fail."""

    agent_code: str
    agent_message: str

    signature_code: str
    signature_message: str
    """403 for an operation URL with a wrong or expired signature."""

    unsupported_code: str
    unsupported_message: str
    """How an operation fails on a guest that patching does not work on."""

    failed_assessment_ends_succeeded: bool
    """Whether the operation around a failed assessment is itself Succeeded."""

    failed_patches_status: Status
    """An installation some of whose patches failed."""

    window_exceeded_status: Status
    """An installation that ran out of time without a failure."""

    lost_reboot_status: RebootStatus
    """`rebootStatus` of an installation whose machine did not come back."""

    not_shared: tuple[int, str]
    """Status and code for an image of a gallery that is not shared with who asks."""

    @property
    def unsupported_guest(self) -> ErrorDetail:
        """What an operation says on a guest that patching does not work on."""
        return ErrorDetail(self.unsupported_code, self.unsupported_message)

    @classmethod
    def drawn(cls, rng: random.Random) -> Quirks:
        """A draw."""
        # From a copy, so that the rest of what is drawn does not hang on what galleries do.
        own = random.Random()
        own.setstate(rng.getstate())
        number = rng.randint(100, 999)
        return cls(
            not_shared=own.choice(
                [(404, "ResourceNotFound"), (404, "GalleryNotFound"), (403, "AuthorizationFailed")]
            ),
            not_running_code=rng.choice(["OperationNotAllowed", "VMNotRunning", "Conflict"]),
            not_running_message=rng.choice(
                [
                    "The operation requires the VM '{vm}' to be running (or set to run).",
                    "Cannot patch VM '{vm}' in its current power state.",
                ]
            )
            + f" [{number}]",
            agent_refused=rng.random() < 0.5,
            agent_code=rng.choice(["VMAgentStatusCommunicationError", "AgentNotReady"]),
            agent_message=f"The VM agent of '{{vm}}' does not report its status. [{number}]",
            signature_code=rng.choice(["AuthorizationFailed", "InvalidOperationUrl", "Forbidden"]),
            signature_message=f"The operation URL is not valid or no longer valid. [{number}]",
            unsupported_code=rng.choice(
                ["UnsupportedImage", "OPERATION_FAILED", "PlatformNotSupported"]
            ),
            unsupported_message=f"The operating system cannot be patched. [{number}]",
            failed_assessment_ends_succeeded=rng.random() < 0.5,
            failed_patches_status=rng.choice([Status.FAILED, Status.WARNINGS]),
            window_exceeded_status=rng.choice([Status.SUCCEEDED, Status.WARNINGS]),
            lost_reboot_status=rng.choice([RebootStatus.FAILED, RebootStatus.STARTED]),
        )


@dataclass(frozen=True)
class ArcQuirks:
    """One draw of what is not known about Microsoft.HybridCompute."""

    not_connected_status: int
    not_connected_code: str
    not_connected_message: str
    """Of an operation on a server that is not Connected; `{machine}` is its name."""

    url_names_activity: bool
    """Whether an operation's URL ends with the activity id of its result, as Compute's does."""

    failure_is_a_result: bool
    """Whether the URL of an operation that failed as a whole gives a result that says so (200), or
    an error."""

    shows_requests: bool
    """Whether ARM shows the settings of the update extension, as it does in a recording."""

    retry_after: int
    """Seconds that the URL of an operation asks to wait."""

    @classmethod
    def drawn(cls, rng: random.Random) -> ArcQuirks:
        """A draw from a copy of `rng`: fleets without such servers are the same as ever."""
        own = random.Random()
        own.setstate(rng.getstate())
        number = own.randint(100, 999)
        return cls(
            not_connected_status=own.choice([400, 409]),
            not_connected_code=own.choice(["MachineNotConnected", "HCRP409", "BadRequest"]),
            not_connected_message="The machine '{machine}' is not connected. " + f"[{number}]",
            url_names_activity=own.random() < 0.5,
            failure_is_a_result=own.random() < 0.5,
            shows_requests=own.random() < 0.5,
            retry_after=own.choice([15, 30, 60]),
        )
