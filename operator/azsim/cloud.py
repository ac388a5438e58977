"""The whole simulated Azure: its state, its time, its one door.

Nothing here sleeps. What takes time is an event in a heap; `advance` runs the events that are due,
in order, each at its own time, and every request first advances to now. With the same fleet, seed
and times of requests everything happens again in the same way.

What Resource Graph shows is kept apart from what is, in `graph`. What goes wrong on the way between
a client and this door is decided by `faults`: `strike` says what happens to a request, and `handle`
or `answer` does its part of it. Without faults nothing of this is felt.
"""

from __future__ import annotations

import heapq
import itertools
import random
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, overload

from azsim.calls import OWN_PATHS
from azsim.clock import Clock
from azsim.door import NOTHING, Effect, Faults
from azsim.fleet import (
    BUILT_IN_ROLES,
    Feature,
    FeatureState,
    Fleet,
    Gallery,
    MachineSpec,
    PowerState,
    ResourceGroup,
)
from azsim.fleet import Principal as PrincipalSpec
from azsim.fleet import Subscription as SubscriptionSpec
from azsim.guest import Guest
from azsim.http import Answer, ArmError, Dispatcher, Principal, Request, Response, Router, require
from azsim.journal import Journal
from azsim.machine import Machine
from azsim.making import earlier_assessment, id_of, make
from azsim.operations import Operations
from azsim.quirks import ArcQuirks, Quirks
from azsim.rights import Assignment, Rights
from azsim.showing import Showing
from azsim.signin import FederatedCredential, Identity, SignIn
from azsim.throttling import Buckets
from azsim.virtualmachine import VirtualMachine

UNSIGNED_QUERY = frozenset({"p", "t", "c", "s", "h", "$skiptoken"})
"""Query parameters that the journal leaves out: signatures, and what is only long."""

NO_STATUS = 0
"""The journal's status of a request that was lost on its way."""


@dataclass
class FeatureRegistration:
    """A feature of a subscription and its state now."""

    spec: Feature
    state: FeatureState
    change: int = 0
    """Counts state changes, so that a registration under way knows whether it is still wanted."""


@dataclass
class ProviderRegistration:
    """The registration of a resource provider: its state, and how often it was registered."""

    state: Literal["Registered", "Registering"] = "Registered"
    change: int = 0


@dataclass
class Subscription:
    """A subscription and what is in it; every key is in lower case."""

    spec: SubscriptionSpec
    resource_groups: dict[str, ResourceGroup] = field(default_factory=dict)
    galleries: dict[tuple[str, str], Gallery] = field(default_factory=dict)
    """By group and name."""
    features: dict[tuple[str, str], FeatureRegistration] = field(default_factory=dict)
    """By namespace and name."""
    providers: defaultdict[str, ProviderRegistration] = field(
        default_factory=lambda: defaultdict(ProviderRegistration)
    )
    """By namespace; one that is not here was not registered again."""
    machines: dict[str, Machine] = field(default_factory=dict)
    """By id."""

    @property
    def id(self) -> str:
        """The subscription id as the file spells it."""
        return self.spec.id

    @property
    def tenant_id(self) -> str:
        """The tenant that owns it."""
        return self.spec.tenant_id

    @property
    def display_name(self) -> str:
        """Its name."""
        return self.spec.display_name


class Cloud:
    """See the module. Keys of every dict are in lower case; `router` is `edge.build_router()`."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        rng: random.Random,
        journal: Journal,
        router: Router,
    ) -> None:
        self.fleet = fleet
        self.clock = clock
        self.rng = rng
        self.journal = journal
        self.now: datetime = clock.now()
        self.started = self.now
        self.arc_quirks = ArcQuirks.drawn(rng)
        self.quirks = Quirks.drawn(rng)
        self.operations = Operations(rng.randbytes(32))
        self.buckets = Buckets()
        self.principals: dict[str, PrincipalSpec] = {
            principal.client_id.lower(): principal for principal in fleet.principals
        }
        self.rights = Rights({p.object_id: _assignments(fleet, p) for p in fleet.principals})
        self.signin = SignIn(
            [_identity(principal) for principal in fleet.principals],
            [tenant.id for tenant in fleet.tenants],
            subscription_tenants={s.id: s.tenant_id for s in fleet.subscriptions},
        )
        self.subscriptions: dict[str, Subscription] = {
            spec.id.lower(): _subscription(spec) for spec in fleet.subscriptions
        }
        self.machines: dict[str, Machine] = {}
        self.graph = Showing(self)
        self.faults = Faults(self)
        self._guests: dict[str, Guest] = {}
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._advancing = False
        self._dispatcher = Dispatcher(router, self, self)
        for machine in fleet.machines:
            self.add_machine(machine, at_start=True)

    # -- the door ---------------------------------------------------------------------------------

    async def handle(self, request: Request, effect: Effect = NOTHING) -> Response | None:
        """Answer one request. Only what is slow to work out waits, in a thread.

        `effect` is what `faults.strike` said when the request came in sight; the caller has waited
        for `arrive_after` by now, and after this waits for `answer_after`. None: the connection
        ends without an answer.
        """
        self.catch_up()
        answer = self._unprocessed(request, effect)
        if answer is None:
            answer = await self._dispatcher.dispatch_async(self, request)
        return self._record(request, answer, effect)

    @overload
    def answer(self, request: Request) -> Response: ...

    @overload
    def answer(self, request: Request, effect: Effect) -> Response | None: ...

    def answer(self, request: Request, effect: Effect = NOTHING) -> Response | None:
        """As `handle`, all of it here and now, for callers without an event loop."""
        self.catch_up()
        answer = self._unprocessed(request, effect)
        if answer is None:
            answer = self._dispatcher.dispatch(self, request)
        return self._record(request, answer, effect)

    def _unprocessed(self, request: Request, effect: Effect) -> Answer | None:
        """What becomes of a request that never reaches Azure; None for one that does."""
        if effect.lose_request:
            return self._dispatcher.unprocessed(request, Response(NO_STATUS))
        if effect.refuse is not None:
            return self._dispatcher.unprocessed(request, effect.refuse)
        return None

    def authenticate(self, request: Request) -> Principal:
        """Who calls; ArmError 401. With `allowed`, the dispatcher's gate."""
        return self.signin.authenticate(request)

    def allowed(self, principal: Principal, action: str, scope: str) -> bool:
        """Whether a role assignment gives the action at the scope."""
        return self.rights.allowed(principal.object_id, action, scope)

    def require(self, principal: Principal, action: str, scope: str) -> None:
        """ArmError 403 AuthorizationFailed unless the principal may do this there."""
        require(self, principal, action, scope)

    def new_guid(self) -> str:
        """A GUID from the seed."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def name_of(self, principal: Principal | None) -> str | None:
        """The name that the fleet file gives a principal."""
        known = self.principals.get(principal.app_id.lower()) if principal else None
        return known.name if known is not None else None

    def _record(self, request: Request, answer: Answer, effect: Effect) -> Response | None:
        if request.path.lower().startswith(OWN_PATHS):
            return answer.response
        lost = effect.lose_request or effect.lose_answer
        managed = request.path.lower().startswith(("/subscriptions/", "/providers/"))
        body = answer.response.body
        error = body.get("error") if isinstance(body, dict) else None
        self.journal.request(
            self.now,
            principal=self.name_of(answer.principal),
            client_id=answer.principal.app_id if answer.principal else None,
            method=request.method.upper(),
            path=request.path,
            query={k: v for k, v in request.query.items() if k.lower() not in UNSIGNED_QUERY},
            status=answer.response.status,
            error_code=error.get("code") if isinstance(error, dict) else None,
            client_request_id=request.headers.get("x-ms-client-request-id"),
            request_id=answer.request_id,
            body=_sent(request) if managed else None,
            fault=effect.fault_id,
            answer="lost" if lost else "sent",
        )
        return None if lost else effect.spoiled(answer.response)

    # -- time -------------------------------------------------------------------------------------

    def schedule(self, at: datetime, action: Callable[[], None]) -> None:
        """Have something happen at a time; in the past means at the next opportunity."""
        heapq.heappush(self._events, (at, next(self._order), action))

    def advance(self, to: datetime) -> None:
        """Let everything happen that is due until `to`; `now` is each event's own time.

        What an event does cannot let time pass: inside of one this does nothing.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            self._run_until(to)
        finally:
            self._advancing = False

    def _run_until(self, to: datetime) -> None:
        while self._events and self._events[0][0] <= to:
            at, _, action = heapq.heappop(self._events)
            self.now = max(self.now, at)
            action()
        self.now = max(self.now, to)

    def catch_up(self) -> None:
        """Let everything happen that is due by the clock."""
        self.advance(self.clock.now())

    def next_event(self) -> datetime | None:
        """When something happens next by itself."""
        return self._events[0][0] if self._events else None

    # -- machines ---------------------------------------------------------------------------------

    def add_machine(self, spec: MachineSpec, *, at_start: bool = False) -> Machine:
        """A new machine; a complete spec, as `fleetfile` gives it. ValueError if the id is taken.

        Resource Graph shows it after its lag, or at once `at_start`.
        """
        subscription = self.subscriptions[(spec.subscription or "").lower()]
        machine_id = id_of(spec, subscription.id)
        key = machine_id.lower()
        if key in self.machines:
            raise ValueError(f"{machine_id} is already there")
        machine, guest = make(self, spec, subscription.id, at_start=at_start)
        self.machines[key] = subscription.machines[key] = machine
        subscription.resource_groups.setdefault(
            spec.group.lower(), ResourceGroup(name=spec.group, location=spec.location)
        )
        self._guests[key] = guest
        if at_start:
            machine.assessment = earlier_assessment(self, machine)
            self.graph.show_at_once(machine)
        else:
            self.journal.event(self.now, machine.id, "MachineCreated", vmId=machine.vm_id)
            self.graph.publish(machine)
        return machine

    def remove_machine(self, machine: Machine) -> None:
        """The machine is gone at once; Resource Graph finds out after its lag."""
        key = machine.id.lower()
        self.guest(machine).delete()
        machine.deleted = True
        del self.machines[key], self._guests[key]
        del self.subscriptions[machine.subscription_id.lower()].machines[key]
        self.journal.event(self.now, machine.id, "MachineDeleted", vmId=machine.vm_id)
        self.graph.publish_deletion(machine)

    def guest(self, machine: Machine) -> Guest:
        """The operating system inside a machine."""
        return self._guests[machine.id.lower()]

    def set_power(self, machine: VirtualMachine, power: PowerState) -> None:
        """Move a machine to a power state now; its guest is told by the caller."""
        if machine.power is power:
            return
        before, machine.power = machine.power, power
        self.journal.event(
            self.now, machine.id, "PowerStateChanged", before=before.value, after=power.value
        )
        self.graph.publish_state(machine)


def _sent(request: Request) -> object:
    try:
        return request.json() if request.body else None
    except ArmError:
        return None


def _subscription(spec: SubscriptionSpec) -> Subscription:
    return Subscription(
        spec,
        resource_groups={group.name.lower(): group for group in spec.resource_groups}
        | {
            g.group.lower(): ResourceGroup(name=g.group, location=g.location)
            for g in spec.galleries
            if g.group.lower() not in {group.name.lower() for group in spec.resource_groups}
        },
        galleries={
            (g.group.lower(), g.name.lower()): g.model_copy(
                update={"images": tuple(image for image in g.images if not image.deleted)}
            )
            for g in spec.galleries
        },
        features={
            (f.namespace.lower(), f.name.lower()): FeatureRegistration(f, f.state)
            for f in spec.features
        },
    )


def _assignments(fleet: Fleet, principal: PrincipalSpec) -> list[Assignment]:
    roles = {**BUILT_IN_ROLES, **fleet.roles}
    assignments = []
    for given in principal.role_assignments:
        role = roles[given.role] if given.role is not None else given
        assignments.append(Assignment(given.scope, role.actions, role.not_actions))
    return assignments


def _identity(spec: PrincipalSpec) -> Identity:
    return Identity(
        Principal(spec.object_id, spec.client_id, spec.tenant_id),
        secret=spec.secret,
        federated=tuple(
            FederatedCredential(f.issuer, f.subject, f.public_key) for f in spec.federated_subjects
        ),
        managed=spec.managed_identity,
    )
