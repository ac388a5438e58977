"""The operator's commands, and the composition root: which part gets which."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from functools import partial
from random import Random

import click
import structlog
import yaml
from prometheus_client import REGISTRY

from azpatch import health, logs
from azpatch.api.crd import manifests
from azpatch.azure.client import SdkAzureClients
from azpatch.azure.metrics import AzureMetrics
from azpatch.clock import SystemClock
from azpatch.handlers.engine import Engine
from azpatch.kube.client import KubernetesClient
from azpatch.kube.config import NoClusterError, own_namespace
from azpatch.kube.election import LEASE_NAME, Election
from azpatch.reconcile.operator import build
from azpatch.reconcile.queue import WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.routing import owner
from azpatch.reconcile.store import Store
from azpatch.runtime import Reconcilers, Runtime
from azpatch.settings import Settings, options, parse

log = structlog.get_logger("azpatch")


@click.command()
@options
def run(**values: str | None) -> None:
    """Run the operator until SIGTERM."""
    settings = parse(values)
    namespace = settings.namespace or own_namespace()
    if namespace is None:
        raise click.UsageError("--namespace is needed outside of a pod")
    logs.configure(settings.log_level)
    try:
        asyncio.run(operate(settings, namespace))
    except NoClusterError as error:
        raise click.ClickException(str(error)) from error
    except Exception:
        # Last of all, so that the reason is a line of the log like any other.
        log.exception("the operator ends")
        sys.exit(1)


@click.command()
def crds() -> None:
    """Print the CustomResourceDefinitions as YAML."""
    click.echo(yaml.safe_dump_all(manifests(), sort_keys=False), nl=False)


async def operate(settings: Settings, namespace: str) -> None:
    """Makes every part once, and runs them."""
    kube = await KubernetesClient.connect(namespace, settings.kubeconfig)
    try:
        await compose(settings, kube).run()
    finally:
        await kube.close()


def compose(settings: Settings, kube: KubernetesClient) -> Runtime:
    """The operator's parts, wired."""
    clock = SystemClock(settings.origin, settings.pace)
    random = Random(settings.seed)
    election = Election(kube, clock, random, identity(), LEASE_NAME, settings.lease())
    store = Store()
    queue = WorkQueue(clock, random, partial(owner, store))
    resync = Resync(kube, store, queue.add, clock, random, settings.resync_interval)
    reconcilers: Reconcilers = build(
        clock=clock,
        random=random,
        kube=kube,
        azure=SdkAzureClients(settings.azure(), clock, AzureMetrics(REGISTRY)),
        store=store,
        queue=queue,
        inventory_interval=settings.inventory_interval,
        leading=lambda: election.held,
    )

    def alive() -> list[str]:
        return [
            *health.standstill(queue),
            *health.overdue(resync, settings.resync_interval),
            *reconcilers.health(),
        ]

    def ready() -> list[str]:
        return health.unready(election, store)

    pages = health.application(alive, ready, REGISTRY)
    return Runtime(
        election=election,
        store=store,
        queue=queue,
        resync=resync,
        engine=Engine(store, queue.add, kube.login),
        reconcilers=reconcilers,
        health=health.HealthServer(pages, *settings.address()),
        workers=settings.workers,
    )


def identity() -> str:
    """This process's name in the Lease. Its end does not come from `--seed`: a restarted process is
    another one."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"
