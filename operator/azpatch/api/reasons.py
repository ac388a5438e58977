"""Every reason that a condition, a verdict or a problem may give: one registry.

A member's value is what stands in status; `types` are the conditions it is for, `meaning` is what
docs/api.md says about it. Verdicts take theirs from those for Supported, outcomes from those for
Compliant.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from azpatch.api.common import ConditionType

_READY = ConditionType.READY
_SUPPORTED = ConditionType.SUPPORTED
_COMPLIANT = ConditionType.COMPLIANT
_RECONCILING = ConditionType.RECONCILING
_STALLED = ConditionType.STALLED
_ACCESS = ConditionType.ACCESS_VERIFIED
_FEATURE = ConditionType.PREVIEW_FEATURE
_COMPLETE = ConditionType.COMPLETE
_FAILED = ConditionType.FAILED

_BLOCKED = (_READY, _STALLED)
"""Reasons that a person must act on."""
_UNDECIDED = (_READY, _SUPPORTED, _STALLED)
"""Why an operation waits for evidence; a policy is Stalled if nothing else can go on."""
_DELAYED = (_READY, _RECONCILING)
"""Reasons that pass by themselves, or when another object changes."""


class Reason(StrEnum):
    """A reason: value, the condition types it is for, its meaning."""

    types: tuple[ConditionType, ...]
    meaning: str

    def __new__(cls, value: str, types: tuple[ConditionType, ...] = (), meaning: str = "") -> Self:
        """A member that is its value and carries the rest."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.types = types
        member.meaning = meaning
        return member

    # --- working as declared
    UP_TO_DATE = ("UpToDate", (_READY,), "Nothing can be done now that is not done.")
    WORKING = ("Working", (_READY,), "Operations are in flight or about to be sent.")
    SUSPENDED = ("Suspended", (_READY,), "spec.suspend is true: nothing new is started.")
    ASSESS_ONLY = ("AssessOnly", (_READY,), "The policy assesses and does not install.")
    NEW_GENERATION = ("NewGeneration", _DELAYED, "The spec changed and is being decided.")

    # --- identity, subscription, access
    IDENTITY_FAILED = (
        "IdentityFailed",
        (*_BLOCKED, _ACCESS),
        "Signing in with the AzureSubscription's identity failed, or Azure refused its token.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        (*_BLOCKED, _ACCESS),
        "The Secret with the client secret, or its key AZURE_CLIENT_SECRET, is not there.",
    )
    SUPPORT_MATRIX_NOT_FOUND = (
        "SupportMatrixNotFound",
        _BLOCKED,
        "The ConfigMap with the support matrix, or its key matrix.yaml, is not there.",
    )
    SUPPORT_MATRIX_INVALID = (
        "SupportMatrixInvalid",
        _BLOCKED,
        "What the ConfigMap holds is not a support matrix.",
    )
    SUPPORT_MATRIX_MISSING = (
        "SupportMatrixMissing",
        _BLOCKED,
        "The machine's AzureSubscription has no support matrix in force.",
    )
    DUPLICATE_SUBSCRIPTION = (
        "DuplicateSubscription",
        _BLOCKED,
        "An older AzureSubscription has the same subscriptionId; this one is not used.",
    )
    SUBSCRIPTION_NOT_FOUND = (
        "SubscriptionNotFound",
        (*_BLOCKED, _ACCESS),
        "Azure knows no such subscription, or the identity may not see it.",
    )
    AZURE_UNREACHABLE = (
        "AzureUnreachable",
        (_READY, _RECONCILING, _ACCESS, _FEATURE),
        "Azure did not answer; asked again.",
    )
    REJECTED = (
        "Rejected",
        (_READY,),
        "Azure refused the operation itself; the message has its words.",
    )
    THROTTLED = ("Throttled", (_READY, _RECONCILING), "Azure asked to wait (429).")
    ACCESS_VERIFIED = (
        "AccessVerified",
        (_ACCESS,),
        "The identity has the rights that the grants need.",
    )
    ACCESS_MISSING = (
        "AccessMissing",
        (*_BLOCKED, _ACCESS),
        "The identity lacks rights in Azure that the grants need.",
    )
    ACCESS_LOST = (
        "AccessLost",
        (_READY, _COMPLIANT),
        "Azure refused (403) what the identity could do before.",
    )
    INVENTORY_PENDING = (
        "InventoryPending",
        _DELAYED,
        "The first inventory, or an image definition, has not been read yet.",
    )
    INVENTORY_SHRUNK = (
        "InventoryShrunk",
        _DELAYED,
        "More than a tenth of the machines vanished at once: held until Azure confirms it.",
    )

    # --- preview feature
    FEATURE_REGISTERED = (
        "FeatureRegistered",
        (_FEATURE,),
        "The preview feature is registered.",
    )
    FEATURE_IGNORED = (
        "FeatureIgnored",
        (_FEATURE,),
        "previewFeature.mode is Ignore: not looked at.",
    )
    PREVIEW_FEATURE_NOT_REGISTERED = (
        "PreviewFeatureNotRegistered",
        (_FEATURE, _SUPPORTED, _READY, _STALLED),
        "Matrix 2023-05 needs the preview feature for gallery images in the machine's "
        "subscription, and it is not registered there.",
    )
    PREVIEW_FEATURE_UNDETERMINED = (
        "PreviewFeatureUndetermined",
        (_FEATURE, *_UNDECIDED),
        "The preview feature was not found, is ambiguous, or may not be read.",
    )

    FEATURE_REGISTERING = (
        "FeatureRegistering",
        (_FEATURE,),
        "The preview feature is being registered.",
    )
    REGISTRATION_UNCONFIRMED = (
        "RegistrationUnconfirmed",
        (_FEATURE,),
        "Whether Azure took the registration is not known; the feature is watched, and nothing "
        "more is sent.",
    )
    REGISTRATION_NOT_GRANTED = (
        "RegistrationNotGranted",
        (_FEATURE,),
        "previewFeature.mode is Register, and no grant allows that.",
    )
    REGISTRATION_REFUSED = (
        "RegistrationRefused",
        (_FEATURE,),
        "Azure did not take the registration, or the identity lacks the right to it.",
    )
    APPROVAL_PENDING = (
        "ApprovalPending",
        (_FEATURE,),
        "The registration waits until Microsoft approves it.",
    )
    REGISTRATION_OVERDUE = (
        "RegistrationOverdue",
        (_FEATURE,),
        "The registration takes longer than the quarter of an hour that Azure documents.",
    )
    REGISTRATION_LOST = (
        "RegistrationLost",
        (_FEATURE,),
        "The feature that azpatch registered is not registered any more; it is left so.",
    )

    # --- policy
    AZURE_SUBSCRIPTION_MISSING = (
        "AzureSubscriptionMissing",
        _DELAYED,
        "No AzureSubscription names the subscription of the target.",
    )
    AZURE_SUBSCRIPTION_NOT_READY = (
        "AzureSubscriptionNotReady",
        _DELAYED,
        "The AzureSubscription that the target needs is not Ready.",
    )
    NOT_GRANTED = (
        "NotGranted",
        _BLOCKED,
        "The machine does not exist, or no grant lets this namespace use it.",
    )
    ACCESS_TOO_LOW = (
        "AccessTooLow",
        (*_BLOCKED, _SUPPORTED),
        "The namespace's grant allows less than the policy asks for.",
    )
    ARC_BILLING_NOT_ACCEPTED = (
        "ArcBillingNotAccepted",
        _BLOCKED,
        "Azure charges for patching Azure Arc-enabled servers, and the AzureSubscription does not "
        "say arcBilling: Accepted.",
    )
    NO_MACHINES = (
        "NoMachines",
        (*_BLOCKED, _SUPPORTED, _COMPLIANT),
        "The target means no machine now.",
    )
    GOVERNED_ELSEWHERE = (
        "GovernedElsewhere",
        (*_BLOCKED, _SUPPORTED, _COMPLIANT),
        "Another policy governs it.",
    )
    NONE_SUPPORTED = (
        "NoneSupported",
        _BLOCKED,
        "Azure can patch none of the policy's machines.",
    )
    TOO_MANY_FAILED = (
        "TooManyFailed",
        (*_BLOCKED, _FAILED),
        "Machines whose install failed hold every slot of maxUnavailable, or the groups of spread; "
        "of a run, that more failed than maxFailed allows.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        _BLOCKED,
        "This version of azpatch cannot read the object; of a PatchTarget or PatchRun, that it "
        "cannot read its PatchPolicy.",
    )
    DELETING = ("Deleting", _DELAYED, "Deleted once the operations in flight have ended.")

    # --- machine: why nothing can be sent now
    VM_STOPPED = (
        "VMStopped",
        (_READY, _RECONCILING, _COMPLIANT),
        "Azure patches running machines only.",
    )
    AGENT_NOT_READY = (
        "AgentNotReady",
        (_READY, _RECONCILING, _COMPLIANT),
        "The machine's agent does not report as ready.",
    )
    ARC_DISCONNECTED = (
        "ArcDisconnected",
        (_READY, _RECONCILING, _SUPPORTED, _COMPLIANT),
        "Azure does not hear the Azure Arc-enabled server's agent; it is patched when Azure does.",
    )
    ARC_EXPIRED = (
        "ArcExpired",
        (*_BLOCKED, _SUPPORTED, _COMPLIANT),
        "The Azure Arc-enabled server was silent for so long that it must be onboarded anew, or "
        "was never connected.",
    )
    ARC_ERROR = (
        "ArcError",
        (*_BLOCKED, _SUPPORTED, _COMPLIANT),
        "The agent of the Azure Arc-enabled server reports an error.",
    )
    OPERATION_IN_PROGRESS = (
        "OperationInProgress",
        (_READY, _COMPLIANT),
        "An operation of azpatch runs on it.",
    )
    FOREIGN_OPERATION = (
        "ForeignOperation",
        (_READY, _COMPLIANT),
        "Someone else's operation runs on it; it holds a slot until it ends.",
    )
    OPERATION_UNCONFIRMED = (
        "OperationUnconfirmed",
        (_READY, _COMPLIANT),
        "Whether Azure took a request is not known; the machine is watched, nothing more is sent.",
    )
    WAITING_FOR_TURN = (
        "WaitingForTurn",
        (_READY,),
        "Azure takes so many operations a minute; others are before this one: policies take turns, "
        "and installs go before assessments.",
    )
    WAITING_FOR_SLOT = (
        "WaitingForSlot",
        (_READY,),
        "As many machines are unavailable as maxUnavailable allows, or spread in a group of its.",
    )
    WAITING_FOR_RUN = (
        "WaitingForRun",
        (_READY,),
        "An install is due, and the next PatchRun takes the machine.",
    )
    WAITING_FOR_WAVE = (
        "WaitingForWave",
        (_READY,),
        "The machine's wave of the PatchRun has not begun.",
    )
    AWAITING_APPROVAL = (
        "AwaitingApproval",
        (_READY,),
        "The PatchRun begins when somebody who may has approved it.",
    )
    APPROVAL_EXPIRED = (
        "ApprovalExpired",
        (_READY, _FAILED),
        "Nobody approved the PatchRun before its window ended.",
    )
    EXPIRED = (
        "Expired",
        (*_BLOCKED, _FAILED),
        "The one-time PatchRun had not begun by spec.notAfter.",
    )
    NOT_AFTER_MISSING = (
        "NotAfterMissing",
        (*_BLOCKED, _FAILED),
        "A person made the PatchRun without spec.notAfter.",
    )
    MACHINE_NOT_IN_POLICY = (
        "MachineNotInPolicy",
        _DELAYED,
        "The PatchRun names a machine that its policy does not govern.",
    )
    RUN_UNDER_WAY = ("RunUnderWay", (_READY,), "A PatchRun is under way.")
    RUN_PAUSED = ("RunPaused", _BLOCKED, "A PatchRun is paused, or a person must look at it.")
    RUN_FAILED = ("RunFailed", _BLOCKED, "The last PatchRun failed.")
    RUN_CANCELLED = (
        "RunCancelled",
        (_READY, _FAILED),
        "The PatchRun was cancelled: nothing more is started in it.",
    )
    POLICY_MISSING = (
        "PolicyMissing",
        (*_BLOCKED, _RECONCILING, _FAILED),
        "There is no PatchPolicy for the PatchRun, or it does not install.",
    )
    RUN_ENDED = (
        "RunEnded",
        (_READY,),
        "The machine's part in a PatchRun is over; what is still missing is for the next run.",
    )
    RECORDING_MEMBERS = (
        "RecordingMembers",
        (_READY,),
        "It is being found out which machines a PatchRun is for, or they are being told.",
    )
    SOAKING = ("Soaking", (_READY,), "A wave passed its gate, and the next waits for its soak.")
    READING_PATCH_SET = (
        "ReadingPatchSet",
        (_READY,),
        "The first wave passed its gate, and what it was given is being read from Azure Resource "
        "Graph: later waves get the same.",
    )
    PATCH_SET_NOT_SHOWN = (
        "PatchSetNotShown",
        _BLOCKED,
        "Azure Resource Graph does not show what the first wave was given; it is asked again.",
    )
    PATCH_SET_TOO_LARGE = (
        "PatchSetTooLarge",
        _BLOCKED,
        "The first wave was given more packages than a PatchRun can pin for those after it.",
    )
    SYSTEM_NOT_PINNED = (
        "SystemNotPinned",
        (_READY,),
        "No machine of the PatchRun's first wave that succeeded has the machine's distribution and "
        "version: nothing vouches for what it would be given.",
    )
    NOTHING_PINNED = (
        "NothingPinned",
        (_READY,),
        "The machine misses nothing of what the PatchRun pins.",
    )
    GATE_NOT_PASSED = (
        "GateNotPassed",
        (*_BLOCKED, _FAILED),
        "What a wave came to does not vouch for the next one.",
    )
    COMPLETE = ("Complete", (_READY, _COMPLETE), "The PatchRun went through all of its waves.")
    WAITING_FOR_WINDOW = (
        "WaitingForWindow",
        (_READY,),
        "An install is due, and no window is open that is long enough for it.",
    )
    FROZEN = (
        "Frozen",
        (_READY,),
        "A freeze of the policy or of the AzureSubscription holds: nothing is installed.",
    )
    NO_WINDOW_LEFT = (
        "NoWindowLeft",
        _BLOCKED,
        "The schedule has no window any more in which an install could start. A run that waits for "
        "one is Stalled.",
    )
    WINDOW_TOO_SHORT = (
        "WindowTooShort",
        _BLOCKED,
        "No window of the schedule is long enough for install.maximumDuration.",
    )
    TIME_ZONE_UNKNOWN = (
        "TimeZoneUnknown",
        _BLOCKED,
        "A timeZone is not in the IANA time zone database, so that nothing is installed.",
    )
    RETRY_LATER = ("RetryLater", (_READY,), "The last try failed; the next has its time.")
    ATTEMPTS_EXHAUSTED = (
        "AttemptsExhausted",
        (_READY, _COMPLIANT),
        "Two installs were sent in this window.",
    )
    OS_NOT_SELECTED = (
        "OSNotSelected",
        (_READY, _SUPPORTED, _COMPLIANT),
        "install selects nothing for the machine's operating system.",
    )
    MACHINE_GONE = ("MachineGone", (_READY, _COMPLIANT), "Azure says that it is deleted (404).")
    MACHINE_REPLACED = (
        "MachineReplaced",
        (_READY, _COMPLIANT),
        "Another machine has the name now; what was known of the old one is dropped.",
    )

    # --- supported: yes
    MATRIX_SUPPORTED = (
        "MatrixSupported",
        (_SUPPORTED,),
        "The support matrix says that Azure can.",
    )
    DETECTED_SUPPORTED = (
        "DetectedSupported",
        (_SUPPORTED,),
        "Azure found that it can, by an assessment.",
    )
    ASSESSED_SUCCESSFULLY = (
        "AssessedSuccessfully",
        (_SUPPORTED,),
        "An assessment succeeded without a statement of support; its success is the evidence.",
    )
    PROBE = ("Probe", (_SUPPORTED,), "The assessment is itself the check of support.")
    TRIED_UNDETERMINED = (
        "TriedUndetermined",
        (_SUPPORTED,),
        "Azure could not determine support; onUndeterminedSupport is Try.",
    )
    ARC_SERVER_SUPPORTED = (
        "ArcServerSupported",
        (_SUPPORTED,),
        "Azure does this on every Azure Arc-enabled server, whatever it was built from.",
    )
    ALL_SUPPORTED = ("AllSupported", (_SUPPORTED,), "Every governed machine is supported.")

    # --- supported: no
    IMAGE_NOT_SUPPORTED = (
        "ImageNotSupported",
        (_SUPPORTED, _READY, _STALLED),
        "The support matrix says that Azure cannot do this on machines from such an image.",
    )
    DETECTED_UNSUPPORTED = (
        "DetectedUnsupported",
        (_SUPPORTED, _READY, _STALLED),
        "Azure found that it cannot, by an assessment.",
    )
    SCALE_SET_MEMBER = (
        "ScaleSetMember",
        (_SUPPORTED, _READY, _STALLED),
        "Members of scale sets are updated by their scale set's model.",
    )
    AKS_NODE = (
        "AKSNode",
        (_SUPPORTED, _READY, _STALLED),
        "Nodes of AKS are updated by node images.",
    )
    WINDOWS_CLIENT = (
        "WindowsClient",
        (_SUPPORTED, _READY, _STALLED),
        "Azure does not patch Windows client systems.",
    )
    ARC_SERVER_UNSUPPORTED = (
        "ArcServerUnsupported",
        (_SUPPORTED,),
        "Azure does not do this on Azure Arc-enabled servers.",
    )
    SOME_UNSUPPORTED = (
        "SomeUnsupported",
        (_SUPPORTED,),
        "Azure cannot patch some of the governed machines.",
    )

    # --- supported: not known
    NOT_ASSESSED = (
        "NotAssessed",
        (*_UNDECIDED, _COMPLIANT),
        "No assessment that counts yet.",
    )
    WAITING_FOR_RESOURCE_GRAPH = (
        "WaitingForResourceGraph",
        (_SUPPORTED, _COMPLIANT, _READY),
        "The assessment succeeded; its result has not appeared in Azure Resource Graph yet.",
    )
    UNABLE_TO_DETERMINE = (
        "UnableToDetermine",
        _UNDECIDED,
        "Azure could not determine support; onUndeterminedSupport is Wait.",
    )
    NO_MARKETPLACE_RULE = (
        "NoMarketplaceRule",
        _UNDECIDED,
        "No rule of the matrix knows this marketplace image, and an assessment did not tell.",
    )
    SYSTEM_NOT_LISTED = (
        "SystemNotListed",
        _UNDECIDED,
        "The matrix does not list the machine's operating system for custom images, and an "
        "assessment did not tell.",
    )
    IMAGE_UNKNOWN = (
        "ImageUnknown",
        _UNDECIDED,
        "What the machine was built from is not known.",
    )
    COMPUTE_NOT_SEEN = (
        "ComputeNotSeen",
        (_SUPPORTED,),
        "Periodic assessment of Azure Arc-enabled servers needs Microsoft.Compute registered in "
        "their subscription, and no virtual machine there shows that it is.",
    )
    SOME_UNKNOWN = (
        "SomeUnknown",
        (_SUPPORTED, _COMPLIANT),
        "Of some governed machines it is not known yet.",
    )

    # --- compliant
    COMPLIANT = ("Compliant", (_COMPLIANT,), "Nothing that the policy selects is missing.")
    PATCHES_MISSING = ("PatchesMissing", (_COMPLIANT,), "Patches that the policy selects miss.")
    REBOOT_PENDING = ("RebootPending", (_COMPLIANT,), "The machine waits for a reboot.")
    UBUNTU_PRO_REQUIRED = (
        "UbuntuProRequired",
        (_COMPLIANT,),
        "Only patches that need Ubuntu Pro are missing.",
    )
    NOTHING_INSTALLABLE = (
        "NothingInstallable",
        (_READY, _COMPLIANT),
        "An install of the same selection installed nothing; it is not sent again.",
    )
    ASSESSMENT_FAILED = (
        "AssessmentFailed",
        (_COMPLIANT, _SUPPORTED, *_BLOCKED, _FAILED),
        "The last assessment failed; of a PatchRun, that of a machine in it.",
    )
    ASSESSMENT_OUTDATED = (
        "AssessmentOutdated",
        (_COMPLIANT,),
        "The last assessment is older than seven days.",
    )
    INSTALL_FAILED = ("InstallFailed", (_COMPLIANT, _READY), "The last install failed.")
    INSTALL_INCOMPLETE = (
        "InstallIncomplete",
        (_COMPLIANT,),
        "maximumDuration ended before everything was in.",
    )
    NOT_BACK = (
        "NotBack",
        (_COMPLIANT, _READY, _STALLED, _FAILED),
        "The machine did not come back from its reboot.",
    )
    RESULT_UNKNOWN = (
        "ResultUnknown",
        (_COMPLIANT, _READY),
        "No result by the deadline of the operation.",
    )
    SUPERSEDED = (
        "Superseded",
        (_COMPLIANT,),
        "A newer operation replaced it; judged after that one.",
    )
    SOME_NOT_COMPLIANT = (
        "SomeNotCompliant",
        (_COMPLIANT,),
        "Some governed machines are not compliant.",
    )
