"""Makes policies and freezes of manifests. Whoever reads a mistake here can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from azpatch.api.common import API_VERSION, GROUP
from azpatch.api.durations import format_iso
from azpatch.api.install import MAXIMUM_DURATION
from azpatch.api.policy import PatchPolicySpec
from azpatch.api.schedule import Freeze, Schedule
from azpatch.api.subscription import AzureSubscriptionSpec
from azpatch.console import Wrong
from azpatch.domain.ids import subscription_of

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_Loader: Any = type("_Loader", (_BASE,), {})
"""YAML as kubectl reads it: 22:00 is no number of minutes, and a day is a text."""

_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, form)
        for tag, form in resolvers
        if tag.rpartition(":")[2] not in ("int", "float", "timestamp", "value")
    ]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile("^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")
)


SpecT = TypeVar("SpecT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Policy:
    """A PatchPolicy, as far as its windows go."""

    namespace: str
    name: str
    spec: PatchPolicySpec

    def is_called(self, name: str) -> bool:
        """Whether this is its name, with or without its namespace."""
        return name in (self.name, f"{self.namespace}/{self.name}")

    @property
    def schedule(self) -> Schedule | None:
        """When it installs; None: never."""
        return self.spec.schedule

    def is_in(self, subscription: Subscription) -> bool:
        """Whether its machines may be there: those of an image may be anywhere."""
        selector = self.spec.target.selector
        if selector is not None:
            return subscription.name in selector.azure_subscriptions
        one = self.spec.target.machine_id
        return one is None or subscription_of(one) == subscription.id.lower()


@dataclass(frozen=True, slots=True)
class Subscription:
    """An AzureSubscription, as far as its freezes go."""

    name: str
    id: str
    freezes: tuple[Freeze, ...]


@dataclass(frozen=True, slots=True)
class Manifests:
    """What was found in files."""

    policies: tuple[Policy, ...]
    subscriptions: tuple[Subscription, ...]


def manifests(files: Sequence[tuple[bytes, str]]) -> Manifests:
    """PatchPolicies and AzureSubscriptions of files, each with its name for a person. Other objects
    are passed over. Raises Wrong."""
    policies: list[Policy] = []
    subscriptions: list[Subscription] = []
    for text, where in files:
        for document in _documents(text, where):
            kind, meta = document.get("kind"), document.get("metadata")
            meta = meta if isinstance(meta, dict) else {}
            name, namespace = str(meta.get("name") or ""), str(meta.get("namespace") or "")
            what = f"{where}: {kind} {name}".rstrip()
            if document["apiVersion"] != API_VERSION:
                raise Wrong(f"{what}: apiVersion is {document['apiVersion']}, not {API_VERSION}.")
            if kind == "PatchPolicy":
                policies.append(Policy(namespace, name, _spec(PatchPolicySpec, document, what)))
            elif kind == "AzureSubscription":
                spec = _spec(AzureSubscriptionSpec, document, what)
                subscriptions.append(Subscription(name, spec.subscription_id, spec.freezes))
    return Manifests(tuple(policies), tuple(subscriptions))


def _documents(text: bytes, where: str) -> Iterator[Mapping[str, Any]]:
    """Objects of azpatch's API, those in Lists too."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Wrong(f"{where} is not YAML: {error}.") from None
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document:
            raise Wrong(f"{where} holds something that is no Kubernetes object. Give manifests.")
        items = document.get("items")
        for one in items if isinstance(items, list) else [document]:
            if isinstance(one, dict) and str(one.get("apiVersion", "")).startswith(f"{GROUP}/"):
                yield one


def _spec(model: type[SpecT], document: Mapping[str, Any], what: str) -> SpecT:
    if not isinstance(document.get("spec"), dict):
        raise Wrong(f"{what}: spec: is required, an object.")
    try:
        # As the API server reads it: a number in quotes is no number.
        spec = json.dumps(document["spec"])
        return model.model_validate_json(
            spec, strict=True, extra="forbid", by_alias=True, by_name=False
        )
    except TypeError as error:
        raise Wrong(f"{what}: spec: {error}.") from None
    except ValidationError as error:
        found = error.errors()
        # Of a list with something wrong in it pydantic says, too, that the rest is too short.
        wrong = [_said(one) for one in found if not any(map(partial(_inside, one), found))]
        raise Wrong(f"{what}: {'; '.join(dict.fromkeys(wrong))}.") from None


def _inside(outer: Mapping[str, Any], error: Mapping[str, Any]) -> bool:
    depth = len(outer["loc"])
    return len(error["loc"]) > depth and error["loc"][:depth] == outer["loc"]


def _said(error: Mapping[str, Any]) -> str:
    path = "spec" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
    )
    if error["type"] == "extra_forbidden":
        return f"{path}: no such field"
    if error["type"] == "missing":
        return f"{path}: is required"
    if error["type"] == "too_short":
        return f"{path}: give at least one"
    if error["type"] == "tuple_type":
        return f"{path}: give a list, such as [{error['input']}]"
    if path.endswith(".maximumDuration") and error["type"].startswith(("greater", "less")):
        return f"{path}: give more than nothing, and at most {format_iso(MAXIMUM_DURATION)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{path}: {message[:1].lower()}{message[1:]}"
