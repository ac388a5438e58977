"""Every setting of the operator: its name, default, unit and reason, in one place.

A field `resync_interval` is the flag `--resync-interval` and the environment variable
`AZPATCH_RESYNC_INTERVAL`; the flag wins. Durations are Go's (`1h30m`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import click
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from azpatch.api.durations import format_go, parse_go
from azpatch.azure.cloud import CLOUDS, CloudSettings
from azpatch.kube.election import LeaseTimes

ENV_PREFIX = "AZPATCH_"

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _duration(value: object) -> object:
    return parse_go(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Settings(BaseModel):
    """How the operator runs. A field's description is its help, with the reason of its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kubeconfig: Path | None = Field(
        None,
        description="Kubeconfig of the cluster. Default: $KUBECONFIG, then the pod's service "
        "account, then ~/.kube/config.",
    )
    namespace: str | None = Field(
        None,
        description="The operator's own namespace, where the Secrets are that AzureSubscriptions "
        "name. Default: the pod's.",
    )
    cloud: str = Field(
        "AzurePublic",
        description=f"The Azure cloud: {', '.join(CLOUDS)}.",
    )
    arm_endpoint: str | None = Field(
        None, description="URL of Azure Resource Manager. Default: the cloud's."
    )
    authority_host: str | None = Field(
        None, description="URL where identities sign in. Default: the cloud's."
    )
    ca_file: Path | None = Field(
        None, description="PEM file of the CAs to trust in Azure's place. Default: the system's."
    )
    clock_origin: AwareDatetime | None = Field(
        None,
        description="RFC 3339. The instant at which simulated and real time agree. Only with a "
        "simulated Azure on this machine. Default: now.",
    )
    pace: float = Field(
        1.0,
        gt=0,
        le=100_000,
        description="Simulated seconds in a real one. Only with a simulated Azure on this machine.",
    )
    workers: int = Field(
        20,
        ge=1,
        le=1000,
        description="Reconciles at the same time. 20 bring 10,000 objects to rest in ten seconds, "
        "and are no burden to an API server.",
    )
    inventory_interval: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(minutes=1),
        description="Azure time between two readings of the inventory. Resource Graph itself lags "
        "by minutes.",
    )
    resync_interval: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=1),
        description="Real time between two LISTs of everything watched: how long a lost event can "
        "stay unnoticed.",
    )
    lease_duration: Duration = Field(
        timedelta(seconds=15),
        ge=timedelta(seconds=1),
        description="Real time after which another replica takes the Lease of one that renews it "
        "no more: how long nobody works after a crash. Kubernetes' own components have the same.",
    )
    lease_renew_deadline: Duration = Field(
        timedelta(seconds=10),
        description="Real time after its last renewal that the leader stops at. Below the Lease's "
        "duration by a third of it, so that it has stopped before another begins even where one of "
        "their clocks is a third slower.",
    )
    lease_retry_period: Duration = Field(
        timedelta(seconds=2),
        ge=timedelta(seconds=1),
        description="Real time between two renewals, or two looks at another's Lease. Some "
        "renewals may fail within the deadline, and a Lease that was released is taken this soon.",
    )
    listen: str = Field(
        "0.0.0.0:8080",
        pattern=r"^.*:\d{1,5}$",
        description="Address and port of /healthz, /readyz and /metrics.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error; info has one line for each decision."
    )
    seed: int | None = Field(
        None,
        description="Seed of jitter and ids, for a run that can be repeated. Default: by chance.",
    )

    @field_validator("cloud")
    @classmethod
    def _known_cloud(cls, value: str) -> str:
        if value not in CLOUDS:
            raise ValueError(f"no such cloud; there are {', '.join(CLOUDS)}")
        return value

    @model_validator(mode="after")
    def _own_time_only_with_a_simulation(self) -> Self:
        """A clock that runs fast would patch real machines outside their windows."""
        arm = self.azure().arm_endpoint
        simulated = self.pace != 1 or self.clock_origin is not None
        if simulated and not is_loopback(arm):
            raise ValueError(
                "--clock-origin and --pace are for a simulated Azure on this machine, and "
                f"--arm-endpoint is {arm}, which is not a loopback address"
            )
        return self

    @model_validator(mode="after")
    def _lease_times_in_order(self) -> Self:
        """A leader that believes in its Lease when another may take it would be one of two."""
        if not 2 * self.lease_retry_period <= self.lease_renew_deadline < self.lease_duration:
            raise ValueError(
                "--lease-renew-deadline must be less than --lease-duration, and at least twice "
                "--lease-retry-period"
            )
        return self

    @property
    def origin(self) -> datetime:
        """When simulated and real time agree."""
        return self.clock_origin or datetime.now(UTC)

    def azure(self) -> CloudSettings:
        """The cloud, with the endpoints given. Raises ValueError if one is not an https URL."""
        known = CLOUDS[self.cloud]
        arm = self.arm_endpoint or known.arm_endpoint
        for cloud in CLOUDS.values():
            if cloud.arm_endpoint == arm.rstrip("/"):
                # Given in full instead of by name: its tokens' scope comes with it.
                known = cloud
        return CloudSettings(
            arm_endpoint=arm,
            authority_host=self.authority_host or known.authority_host,
            ca_file=str(self.ca_file) if self.ca_file else None,
            token_scope=known.token_scope if arm.rstrip("/") == known.arm_endpoint else None,
        )

    def lease(self) -> LeaseTimes:
        """How the Lease is kept."""
        return LeaseTimes(
            duration=self.lease_duration.total_seconds(),
            renew_deadline=self.lease_renew_deadline.total_seconds(),
            retry_period=self.lease_retry_period.total_seconds(),
        )

    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def is_loopback(url: str) -> bool:
    """The URL's host is this machine, by name or by number."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def options(command: CommandT) -> CommandT:
    """Gives a click command an option for every setting, as text or None; `parse` reads them."""
    for name, field in reversed(Settings.model_fields.items()):
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            envvar=ENV_PREFIX + name.upper(),
            help=(field.description or "") + _default(field.default),
            show_envvar=True,
            metavar="VALUE",
        )(command)
    return command


def parse(values: Mapping[str, str | None]) -> Settings:
    """The settings; those absent or empty have their defaults. Raises click.UsageError."""
    given = {name: value for name, value in values.items() if value not in (None, "")}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise click.UsageError("\n".join(_problem(item) for item in error.errors())) from None


def _problem(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    return f"--{str(error['loc'][0]).replace('_', '-')}: {message}, not {error['input']!r}"


def _default(value: object) -> str:
    if value is None:
        return ""
    shown = format_go(value) if isinstance(value, timedelta) else value
    return f" Default: {shown}."
