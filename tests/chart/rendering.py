"""The chart as Helm renders it, without a cluster."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.binaries import binaries, kubernetes_version
from lab.chart import CHART, NAMESPACE, RELEASE

Values = Mapping[str, Any]
Manifest = dict[str, Any]

HELM_SECONDS = 60
"""A rendering takes a tenth of a second; the rest is for a busy machine."""


class Rendered(list[Manifest]):
    """The objects of one rendering, in Helm's order."""

    def one(self, kind: str, name: str = RELEASE) -> Manifest:
        """The object of this kind and name. ValueError if there is none."""
        (found,) = (
            item for item in self if (item["kind"], item["metadata"]["name"]) == (kind, name)
        )
        return found

    @property
    def pod(self) -> Manifest:
        """The pod template of the Deployment."""
        template: Manifest = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["spec"]["containers"]
        return dict(container)

    @property
    def env(self) -> Mapping[str, str | None]:
        """The container's variables; None for one that is not given by value."""
        return {item["name"]: item.get("value") for item in self.container["env"]}


def helm(*arguments: str | Path, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """A helm command that needs no cluster; it takes ``values`` and may fail."""
    return subprocess.run(
        [binaries(["helm"])["helm"], *arguments, "--values=-"],
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        timeout=HELM_SECONDS,
        check=False,
    )


def template(values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """``helm template`` of the chart; it may fail."""
    return helm(
        "template",
        RELEASE,
        CHART,
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes_version()}",
        values=values,
    )


def render(values: Values | None = None) -> Rendered:
    """The objects that the chart makes of ``values``, without a word of complaint from Helm."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return Rendered(item for item in yaml.safe_load_all(done.stdout) if item)


def notes(values: Values | None = None) -> str:
    """What Helm prints after an installation."""
    done = helm(
        "install", RELEASE, CHART, f"--namespace={NAMESPACE}", "--dry-run=client", values=values
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]
