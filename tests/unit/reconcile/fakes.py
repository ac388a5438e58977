"""The outside of the reconcile layer, scripted: time, the API server, Azure; and an operator on it.

`Kube` and `Azure` write what they are asked into one `journal`, in order, so that a test can say
what came before what.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, cast

from azpatch.api.common import API_VERSION, DetectedState, OsType
from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.api.target import PatchTarget, PatchTargetStatus
from azpatch.azure.port import Accepted, AzureError, Credentials, Denied, Gone, Progress
from azpatch.azure.throttles import CHARGE, Throttles
from azpatch.domain.facts import (
    AssessmentResult,
    Feature,
    GuestStatus,
    ImageDefinition,
    ImageReference,
    InstallationResult,
    Machine,
    MachineView,
    MissingPatch,
    Permissions,
    Snapshot,
)
from azpatch.domain.ids import key, subscription_of
from azpatch.handlers.events import take_in
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    WATCHED,
    Conflict,
    Kind,
    KubeError,
    NotFound,
    Object,
)
from azpatch.reconcile.operator import Operator, build
from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.routing import owner
from azpatch.reconcile.store import Store

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
COMPUTE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
VM = f"{COMPUTE}/virtualMachines/web-1"
IMAGE = f"{COMPUTE}/galleries/g/images/web"


# --- time -----------------------------------------------------------------------------------------


async def settle() -> None:
    """Lets every task run until it waits for time, or for something that a test holds back."""
    ready = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009 - asyncio tells nobody
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110 - nothing tells when all others wait
        await asyncio.sleep(0)


class VirtualClock:
    """Time that passes when `advance` says so."""

    def __init__(self, start: datetime = START) -> None:
        self._start = self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def elapsed(self) -> timedelta:
        return self._now - self._start

    async def sleep(self, duration: timedelta) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + duration, self._count, future))
        await future

    def jump(self, by: timedelta) -> None:
        """Time passes while nobody gets to run."""
        self._now += by

    async def advance(self, by: timedelta) -> None:
        """Time passes, and whoever waited for it runs in time."""
        end = self._now + by
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._now = max(due, self._now)
            future.set_result(None)
            await settle()
        self._now = max(end, self._now)
        await settle()


# --- the API server -------------------------------------------------------------------------------

Name = tuple[Kind, str, str]


class Kube:
    """Objects with resourceVersions, conflicts, finalizers and deletion."""

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal
        self._objects: dict[Name, Object] = {}
        self._version = 0
        self.secrets: dict[str, Mapping[str, bytes]] = {}
        self.config_maps: dict[str, Mapping[str, str]] = {}
        self.events: list[tuple[str, str, bool]] = []
        """(reason, note, warning)"""
        self.refuse: Callable[[str], KubeError | None] = lambda _line: None
        """Asked before each write with the line that the journal would get."""
        self.watch: Callable[[Kind, Object, bool], None] = lambda _kind, _raw, _gone: None
        """Told of every change, a little later; the last argument says that it was deleted."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return copy.deepcopy(self._current(kind, namespace, name))

    async def create(self, kind: Kind, body: Object) -> Object:
        meta = body["metadata"]
        name = (kind, meta.get("namespace", ""), meta["name"])
        self._write(f"create {kind.kind}")
        if name in self._objects:
            raise Conflict(f"{meta['name']} exists")
        return self.put(kind, body)

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        state = ""
        if kind == PATCH_TARGET:
            state = (status.get("operation") or {}).get("state") or ""
        if kind == AZURE_SUBSCRIPTION:
            feature = status.get("previewFeature") or {}
            state = (feature.get("registration") or {}).get("step") or ""
        self._write(f"status {kind.kind} {state}".strip())
        current = self._matching(kind, base)
        return self._store(kind, {**current, "status": copy.deepcopy(dict(status))})

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        self._write(f"{'finalizer' if finalizers else 'no finalizer'} {kind.kind}")
        current = self._matching(kind, base)
        meta = {**current["metadata"], "finalizers": list(finalizers)}
        answer = self._store(kind, {**current, "metadata": meta})
        if meta.get("deletionTimestamp") and not finalizers:
            self._remove(kind, answer)
        return answer

    async def delete(self, kind: Kind, base: Object) -> None:
        self._write(f"delete {kind.kind}")
        meta = base["metadata"]
        found = self._objects.get((kind, meta.get("namespace", ""), meta["name"]))
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            return
        if found["metadata"].get("finalizers"):
            stamped = {**found["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z"}
            self._store(kind, {**found, "metadata": stamped})
        else:
            self._remove(kind, found)

    async def secret(self, name: str) -> Mapping[str, bytes]:
        if name not in self.secrets:
            raise NotFound(name)
        return self.secrets[name]

    async def config_map(self, name: str) -> Mapping[str, str]:
        if name not in self.config_maps:
            raise NotFound(name)
        return self.config_maps[name]

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        self.events.append((reason, note, warning))

    def put(self, kind: Kind, body: Object) -> Object:
        """Somebody else creates or changes an object."""
        meta = body["metadata"]
        name = (kind, meta.get("namespace", ""), meta["name"])
        old = self._objects.get(name)
        uid = old["metadata"]["uid"] if old else f"uid-{self._version}-{meta['name']}"
        generation = (old["metadata"].get("generation", 0) if old else 0) + 1
        created = {
            "uid": uid,
            "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        status = {"status": old["status"]} if old and "status" in old else {}
        return self._store(kind, {**status, **body, "metadata": {**created, **meta}})

    def all(self, kind: Kind) -> Sequence[Object]:
        return [copy.deepcopy(raw) for (of, _, _), raw in self._objects.items() if of == kind]

    def finalizers(self, kind: Kind) -> Sequence[str]:
        """Of the only object of the kind."""
        (found,) = self.all(kind)
        return list(found["metadata"].get("finalizers") or ())

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        listed = self.all(kind)
        for raw in listed:
            take(raw)
        return {raw["metadata"]["uid"] for raw in listed}

    def _write(self, line: str) -> None:
        error = self.refuse(line)
        if error is not None:
            raise error
        self._journal.append(line)

    def _current(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return self._objects[kind, namespace, name]
        except KeyError:
            raise NotFound(name) from None

    def _matching(self, kind: Kind, base: Object) -> Object:
        meta = base["metadata"]
        current = self._current(kind, meta.get("namespace", ""), meta["name"])
        if current["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict("the object has been modified")
        return current

    def _store(self, kind: Kind, raw: Object) -> Object:
        self._version += 1
        stored = copy.deepcopy(raw)
        stored["metadata"]["resourceVersion"] = str(self._version)
        meta = stored["metadata"]
        self._objects[kind, meta.get("namespace", ""), meta["name"]] = stored
        self._tell(kind, stored, gone=False)
        return copy.deepcopy(stored)

    def _remove(self, kind: Kind, raw: Object) -> None:
        meta = raw["metadata"]
        del self._objects[kind, meta.get("namespace", ""), meta["name"]]
        self._tell(kind, raw, gone=True)

    def _tell(self, kind: Kind, raw: Object, *, gone: bool) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_soon(self.watch, kind, copy.deepcopy(raw), gone)


# --- Azure ----------------------------------------------------------------------------------------


def machine(**changes: Any) -> Machine:
    """A running Linux machine from a generalized gallery image, a hundred days old."""
    known = Machine(
        id=VM,
        vm_id="vm-1",
        location="westeurope",
        os_type=OsType.LINUX,
        time_created=START - 100 * DAY,
        power_state="Running",
        image=ImageReference(id=IMAGE, exact_version="1.4.0"),
        os_disk_create_option="FromImage",
        computer_name="web-1",
    )
    return replace(known, **changes)


def numbered(number: int) -> str:
    """Id of a machine."""
    return VM.replace("web-1", f"web-{number}")


PATCH = MissingPatch("openssl", "3.0", None, ("Security",), None, None)


class Azure:
    """One identity's Azure. What a test sets is what is answered; an exception is raised."""

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal
        self.views: dict[str, MachineView | AzureError] = {}
        """ARM, by key; a machine that is not here is 404."""
        self.hidden: set[str] = set()
        """Keys of machines that Resource Graph does not show."""
        self.shown_definitions: Mapping[str, ImageDefinition] = {}
        """Image definitions that Resource Graph shows, by key."""
        self.definitions: dict[str, ImageDefinition | AzureError] = {}
        """Those that ARM shows, by key, or by key and subscription; one that is not here is 403."""
        self.looked_up: list[tuple[str, str, str]] = []
        """(definition, subscription, location) of each that ARM was asked for."""
        self.rows: dict[str, AssessmentResult] = {}
        self.install_rows: dict[str, InstallationResult] = {}
        self.patches: dict[str, tuple[MissingPatch, ...]] = {}
        self.operations: dict[str, Progress | AzureError] = {}
        """By operation id; one that is not here runs."""
        self.post: Callable[[str], AzureError | asyncio.Event | None] = lambda _machine: None
        """Asked at each POST: an error, or an event to wait for before the answer."""
        self.broken: dict[str, AzureError] = {}
        """Errors by name of the read."""
        self.posts: list[tuple[str, str, str]] = []
        """(kind, machine id, attempt id)"""
        self.bodies: list[Mapping[str, object]] = []
        """Of each install, in their order."""
        self.reads: list[tuple[str, int]] = []
        """(read, how many machines or subscriptions it was for)"""
        self.shown_features: tuple[Feature, ...] = ()
        self.held = (Permissions(("*",), ()),)
        """What the identity may do."""
        self.register: Callable[[str], AzureError | None] = lambda _what: None
        """Asked at each registration, of `feature` or `compute`: an error."""
        self.registrations: list[tuple[str, str]] = []
        """(feature or compute, attempt id)"""
        self.turn: Callable[[str], timedelta] = lambda _machine: timedelta(0)
        """Asked before each operation: how long it waits for its turn."""
        self.throttles: Throttles | None = None
        """What says so in its place, and is told of each operation."""
        self.in_line: dict[str, tuple[str, str, bool]] = {}
        """Location, policy and whether it yields, of the machines that have a place, by key."""
        self.closed = False

    def add(self, found: Machine, **changes: Any) -> None:
        """A machine whose agent is ready."""
        known = MachineView(found, agent_ready=True, assessment=None, installation=None)
        self.views[key(found.id)] = replace(known, **changes)

    def change(self, machine_id: str = VM, **changes: Any) -> None:
        """What ARM shows of the machine."""
        known = self.views[key(machine_id)]
        assert isinstance(known, MachineView)
        self.views[key(machine_id)] = replace(known, **changes)

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        wanted = list(subscriptions)
        self._read("snapshot", len(wanted))
        machines = {
            k: v.machine
            for k, v in self.views.items()
            if isinstance(v, MachineView) and k not in self.hidden and subscription_of(k) in wanted
        }
        rows = {k: row for k, row in self.rows.items() if k in machines}
        return Snapshot(machines=machines, definitions=self.shown_definitions, assessments=rows)

    async def assessments(self, machine_ids: Iterable[str]) -> Mapping[str, AssessmentResult]:
        wanted = self._wanted("assessments", machine_ids)
        return {k: self.rows[k] for k in wanted if k in self.rows}

    async def missing_patches(
        self, machine_ids: Iterable[str]
    ) -> Mapping[str, tuple[MissingPatch, ...]]:
        wanted = self._wanted("missing_patches", machine_ids)
        return {k: self.patches[k] for k in wanted if k in self.patches}

    async def installations(self, machine_ids: Iterable[str]) -> Mapping[str, InstallationResult]:
        wanted = self._wanted("installations", machine_ids)
        return {k: self.install_rows[k] for k in wanted if k in self.install_rows}

    async def installs(self, activities: Mapping[str, str]) -> Mapping[str, InstallationResult]:
        wanted = self._wanted("installs", activities)
        found = {k: row for k in wanted if (row := self.install_rows.get(k)) is not None}
        known = {key(machine_id): activity for machine_id, activity in activities.items()}
        return {k: row for k, row in found.items() if row.activity_id == known[k]}

    async def machine(self, machine_id: str) -> MachineView:
        self._read("machine", 1)
        found = self.views.get(key(machine_id), Gone("ResourceNotFound", "It is not there."))
        if isinstance(found, AzureError):
            raise found
        return found

    async def image_definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        self._read("image_definition", 1)
        self.looked_up.append((definition_id, subscription, location))
        found = self.definitions.get(key(definition_id)) or self.definitions.get(
            f"{key(definition_id)} {subscription}", Denied("AuthorizationFailed", "It may not.")
        )
        if isinstance(found, AzureError):
            raise found
        return found

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        return await self._post("Assess", machine_id, attempt_id)

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        self.bodies.append(parameters)
        return await self._post("Install", machine_id, attempt_id)

    async def operation(self, poll_url: str) -> Progress:
        self._read("operation", 1)
        found = self.operations.get(poll_url.rsplit("/", 1)[-1], Progress(running=True))
        if isinstance(found, AzureError):
            raise found
        return found

    async def features(self, subscription: str) -> tuple[Feature, ...]:
        self._read("features", 1)
        return self.shown_features

    async def permissions(self, scope: str) -> tuple[Permissions, ...]:
        self._read("permissions", 1)
        return self.held

    async def register_feature(self, subscription: str, feature: str, attempt_id: str) -> None:
        await self._register("feature", attempt_id)

    async def register_compute(self, subscription: str, attempt_id: str) -> None:
        await self._register("compute", attempt_id)

    async def close(self) -> None:
        self.closed = True

    def asked(self, read: str) -> int:
        """How often something was read."""
        return sum(name == read for name, _ in self.reads)

    def _wanted(self, read: str, machine_ids: Iterable[str]) -> list[str]:
        wanted = [key(id_) for id_ in machine_ids]
        self._read(read, len(wanted))
        return wanted

    async def _register(self, what: str, attempt_id: str) -> None:
        self._journal.append(f"POST {what}")
        self.registrations.append((what, attempt_id))
        error = self.register(what)
        if error is not None:
            raise error

    def _read(self, read: str, count: int) -> None:
        self.reads.append((read, count))
        if read in self.broken:
            raise self.broken[read]

    async def _post(self, kind: str, machine_id: str, attempt_id: str) -> Accepted:
        self.in_line.pop(key(machine_id))
        if self.throttles is not None:
            async with self.throttles.posting(machine_id):
                charge = CHARGE.get()
                assert charge is not None
                charge.sent()
                charge.answered(202, {}, "")
        self._journal.append(f"POST {kind}")
        self.posts.append((kind, machine_id, attempt_id))
        number = len(self.posts)
        answer = self.post(machine_id)
        if isinstance(answer, AzureError):
            raise answer
        if answer is not None:
            await answer.wait()
        return Accepted(f"op-{number}", f"https://arm/operations/op-{number}")


class AzureClients:
    """The same Azure for every identity."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure

    def client(self, credentials: Credentials) -> Azure:
        return self._azure

    def reserve(self, machine_id: str, location: str, policy: str, *, yields: bool) -> timedelta:
        throttles = self._azure.throttles
        if throttles is None:
            wait = self._azure.turn(machine_id)
        else:
            wait = throttles.reserve(machine_id, location, policy, yields=yields)
        self._azure.in_line[key(machine_id)] = (location, policy, yields)
        return wait

    def release(self, machine_id: str) -> None:
        self._azure.in_line.pop(key(machine_id), None)
        if self._azure.throttles is not None:
            self._azure.throttles.release(machine_id)


# --- an operator on them --------------------------------------------------------------------------


def assessment_row(**changes: Any) -> AssessmentResult:
    """Resource Graph's row of an assessment an hour ago: supported, one security patch missing."""
    known = AssessmentResult(
        GuestStatus.SUCCEEDED,
        start_time=START - HOUR - 5 * MINUTE,
        last_modified=START - HOUR,
        activity_id="assessed-before",
        critical_and_security=1,
        other=0,
        reboot_pending=False,
        detected=DetectedState.SUPPORTED,
    )
    return replace(known, **changes)


OF_ANOTHER_VERSION = {"linux": {}, "maximumDuration": "P1D"}
"""An `install` that this version cannot read: it takes no such duration."""


class World:
    """A cluster and an Azure that outlive the operators that run on them."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.clock = VirtualClock()
        self.kube = Kube(self.journal)
        self.azure = Azure(self.journal)
        self.store = Store()
        self.queue = WorkQueue(self.clock, Random(1), partial(owner, self.store))
        self.operator: Operator | None = None
        self.leading = True
        """Whether the operator holds the Lease."""
        self.kube.put(NAMESPACE, {"metadata": {"name": "web"}})
        self.subscription()
        self.policy()

    def subscription(self, **spec: Any) -> None:
        """AzureSubscription prod: namespace web may patch everything."""
        declared = {
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "22222222-2222-2222-2222-222222222222",
            "supportMatrix": "2023-05",
            "previewFeature": {"mode": "Ignore"},
            "grants": [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Patch"}],
            **spec,
        }
        body = _object(AZURE_SUBSCRIPTION, {"name": "prod"}, declared)
        self.kube.put(AZURE_SUBSCRIPTION, body)

    def policy(self, name: str = "web-linux", **spec: Any) -> None:
        """A policy in namespace web that installs on VM whenever it is due."""
        declared = {
            "target": {"virtualMachine": {"id": VM}},
            "install": {"linux": {}},
            "schedule": {"always": {}},
            **spec,
        }
        kept = {field: value for field, value in declared.items() if value is not None}
        body = _object(PATCH_POLICY, {"name": name, "namespace": "web"}, kept)
        self.kube.put(PATCH_POLICY, body)

    def due(self, machine_id: str = VM, **changes: Any) -> None:
        """A patch is missing, as an assessment before our time found."""
        self.azure.rows[key(machine_id)] = assessment_row(**changes)
        self.azure.patches[key(machine_id)] = (PATCH,)

    def told(self) -> PatchPolicy:
        """The only policy, as the API server has it."""
        (raw,) = self.kube.all(PATCH_POLICY)
        return PatchPolicy.from_object(raw)

    def runs(self) -> list[PatchRun]:
        """The PatchRuns, by name."""
        runs = [PatchRun.from_object(raw) for raw in self.kube.all(PATCH_RUN)]
        return sorted(runs, key=lambda run: run.metadata.name)

    def asks(self, name: str = "now", **spec: Any) -> None:
        """A person makes a run; by API names. It may begin within two days."""
        declared = {
            "policyRef": {"name": "web-linux"},
            "notAfter": (START + 2 * DAY).isoformat().replace("+00:00", "Z"),
            **spec,
        }
        kept = {field: value for field, value in declared.items() if value is not None}
        self.kube.put(PATCH_RUN, _object(PATCH_RUN, {"name": name, "namespace": "web"}, kept))

    def says(self, run: PatchRun, **spec: Any) -> None:
        """A person, to a run; by API names."""
        (raw,) = (
            raw for raw in self.kube.all(PATCH_RUN) if raw["metadata"]["name"] == run.metadata.name
        )
        named = ("name", "namespace", "ownerReferences")
        kept = {name: raw["metadata"][name] for name in named if name in raw["metadata"]}
        self.kube.put(PATCH_RUN, {**raw, "metadata": kept, "spec": {**raw["spec"], **spec}})

    def target(self, machine_id: str = VM) -> PatchTarget:
        """The PatchTarget of a machine, as the API server has it."""
        (found,) = (
            raw
            for raw in self.kube.all(PATCH_TARGET)
            if key(raw["spec"]["machineId"]) == key(machine_id)
        )
        return PatchTarget.from_object(found)

    def status(self, machine_id: str = VM) -> PatchTargetStatus:
        return self.target(machine_id).status

    def ready(self, machine_id: str = VM) -> str:
        """The reason of its condition Ready."""
        return next(c.reason for c in self.status(machine_id).conditions if c.type == "Ready")

    def message(self, machine_id: str = VM) -> str:
        """What its condition Ready says."""
        return next(c.message for c in self.status(machine_id).conditions if c.type == "Ready")

    def said_of(self, machine_id: str) -> dict[str, str]:
        """The reason of Ready, by policy."""
        targets = map(PatchTarget.from_object, self.kube.all(PATCH_TARGET))
        return {
            target.spec.policy: next(
                c.reason for c in target.status.conditions if c.type == "Ready"
            )
            for target in targets
            if key(target.spec.machine_id) == key(machine_id)
        }

    def compliant(self, machine_id: str = VM) -> tuple[str, str]:
        """Status and reason of its condition Compliant."""
        conditions = self.status(machine_id).conditions
        return next((c.status, c.reason) for c in conditions if c.type == "Compliant")

    @asynccontextmanager
    async def operator_runs(self) -> AsyncIterator[None]:
        """A new operator, which knows only what the API server holds. It dies at the end."""
        self.store = Store()
        self.queue = WorkQueue(self.clock, Random(1), partial(owner, self.store))
        self.kube.watch = self._seen
        self.operator = build(
            clock=self.clock,
            random=Random(1),
            kube=self.kube,
            azure=AzureClients(self.azure),
            store=self.store,
            queue=self.queue,
            inventory_interval=5 * MINUTE,
            leading=lambda: self.leading,
        )
        for kind in WATCHED:
            for raw in self.kube.all(kind):
                self._seen(kind, raw, gone=False)
        tasks = [
            asyncio.create_task(self.queue.run(2, self.operator.reconcile)),
            asyncio.create_task(self.operator.run_background()),
        ]
        await settle()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.kube.watch = lambda _kind, _raw, _gone: None

    async def passes(self, by: timedelta) -> None:
        """Time passes."""
        await self.clock.advance(by)

    def _seen(self, kind: Kind, raw: Object, gone: bool) -> None:
        take_in(
            kind,
            {"type": "DELETED" if gone else "MODIFIED", "object": cast(Any, raw)},
            self.store,
            self.queue.add,
        )


def _object(kind: Kind, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": kind.kind,
        "metadata": dict(metadata),
        "spec": copy.deepcopy(dict(spec)),
    }
