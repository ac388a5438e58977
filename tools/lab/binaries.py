"""The programs of a Kubernetes control plane, found or built.

Order: ``KUBEBUILDER_ASSETS``, for what it has; the cache; else built with Go from the modules that
``tools/go`` pins, into the cache. Prebuilt ones come from places that not everyone can reach; Go
modules are pinned by go.sum, and a mirror of them suffices.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "tools" / "go"


@dataclass(frozen=True)
class Recipe:
    """How one program is built."""

    module: str
    """The folder under tools/go. Two, because helm needs another version of the same libraries."""

    package: str
    versioned: bool = False
    """Whether the Kubernetes version is linked in; without it the program calls itself v0.0.0."""


RECIPES: Mapping[str, Recipe] = {
    "etcd": Recipe("kubernetes", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": Recipe("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", True),
    "kube-controller-manager": Recipe(
        "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", True
    ),
    "kubectl": Recipe("kubernetes", "k8s.io/kubernetes/cmd/kubectl", True),
    "helm": Recipe("helm", "helm.sh/helm/v4/cmd/helm"),
    "kubeconform": Recipe("helm", "github.com/yannh/kubeconform/cmd/kubeconform"),
}

NO_GO = """\
azpatch's control plane needs: {missing}.
They are not in KUBEBUILDER_ASSETS nor in the cache ({cache}), and Go, which would build them,
is not installed. Do one of these:
  - install Go {go} or later (https://go.dev/doc/install) and run this again, or
  - point KUBEBUILDER_ASSETS at a folder that has them."""


class BinariesMissing(RuntimeError):
    """The programs are not there and cannot be built; the message says what to install."""


def binaries(names: Sequence[str] = tuple(RECIPES)) -> dict[str, Path]:
    """The path of each program, built first if need be (minutes, said on stderr).

    Safe to call from several processes at a time: one builds, the others wait for it.
    """
    found = {name: path for name in names if (path := _provided(name))}
    lacking = [name for name in names if name not in found]
    if lacking:
        cache = cache_folder()
        if any(not (cache / name).exists() for name in lacking):
            with _locked(cache):
                _build([name for name in lacking if not (cache / name).exists()], cache)
        found |= {name: cache / name for name in lacking}
    return found


def cache_folder() -> Path:
    """One folder per content of tools/go, so that a new pin is a new build and an old one stays."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "azpatch" / f"bin-{_pin()}"


def kubernetes_version() -> str:
    """The pinned version, for example ``v1.36.3``."""
    return _required(MODULES / "kubernetes" / "go.mod", r"^\s*k8s\.io/kubernetes (v\S+)")


def _pin() -> str:
    digest = hashlib.sha256(repr(sorted(RECIPES.items())).encode())
    for path in sorted(MODULES.glob("*/go.*")):
        digest.update(f"{path.relative_to(MODULES)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _required(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if not found:
        raise BinariesMissing(f"{path} does not say {pattern}")
    return found[1]


def _provided(name: str) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(folder, name) if folder else None
    return path if path and os.access(path, os.X_OK) else None


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another process builds the control plane; waiting for it ({cache})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(names: Sequence[str], cache: Path) -> None:
    if not names:
        return
    go = shutil.which("go")
    if go is None:
        version = _required(MODULES / "kubernetes" / "go.mod", r"^go (\S+)")
        raise BinariesMissing(NO_GO.format(missing=", ".join(names), cache=cache, go=version))
    _say(
        f"building {', '.join(names)} from Go modules into {cache}: once per version, "
        "about 9 minutes on two cores when nothing is built yet"
    )
    for number, name in enumerate(names, start=1):
        _say(f"  {number}/{len(names)} {name}")
        _build_one(go, name, cache)


def _build_one(go: str, name: str, cache: Path) -> None:
    recipe = RECIPES[name]
    linker = "-s -w"
    if recipe.versioned:
        linker += f" -X k8s.io/component-base/version.gitVersion={kubernetes_version()}"
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        output = Path(folder, name)
        command = [
            go,
            "build",
            "-mod=readonly",
            "-ldflags",
            linker,
            "-o",
            str(output),
            recipe.package,
        ]
        env = os.environ | {"CGO_ENABLED": "0"}
        done = subprocess.run(command, cwd=MODULES / recipe.module, env=env, check=False)
        if done.returncode:
            raise BinariesMissing(f"go could not build {name}; what it said is above")
        output.replace(cache / name)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
