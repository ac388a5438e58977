"""The operator's image, built and run with podman on a machine that reaches no image registry.

The base stands in for the official Python image: Debian's Python with pip where that image has
them. It is made by mmdebstrap once and kept in the cache, like the image's layers, so that a
second build takes a second.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.binaries import ROOT

PROGRAMS = ("podman", "runc", "mmdebstrap")
"""What has to be installed; Debian's packages have the same names."""

BASE_RECIPE = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    "--mode=root",
    "--include=python3,python3-venv,ca-certificates",
    # Where the official image has its python and pip.
    '--customize-hook=chroot "$1" python3 -m venv /usr/local',
    "trixie",
)

BASE_TIMEOUT_SECONDS = 300
BUILD_TIMEOUT_SECONDS = 600
RUN_TIMEOUT_SECONDS = 60

CONTAINERS_CONF = "[containers]\ndefault_ulimits = []\n"
"""Podman's own default raises limits, which an unprivileged outer container refuses."""

SANDBOX = (
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    # Podman would put a writable /tmp, /run and /var/tmp over a read-only root.
    "--read-only-tmpfs=false",
)
"""As the chart runs it: no right, no file that can be written."""


class ImageImpossible(RuntimeError):
    """No image can be built on this machine; the message says why and what would help."""


@dataclass(frozen=True)
class Image:
    """A built image in podman's store."""

    podman: "Podman"
    name: str

    def run(self, *command: str, entrypoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs it once in ``SANDBOX``, without a network; ``entrypoint`` replaces the image's own.
        Never raises for the command's own exit status."""
        override = [f"--entrypoint={entrypoint}"] if entrypoint else []
        return self.podman.call(
            "run", "--rm", "--pull=never", "--network=none", *SANDBOX, *override, self.name,
            *command,
            timeout=RUN_TIMEOUT_SECONDS,
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self, *command: str, options: Sequence[str], log: Path) -> Iterator["Container"]:
        """``command`` in place of entrypoint and arguments, in ``SANDBOX`` and the host's network,
        with further options of ``podman run``; what it prints goes to ``log``."""
        name = f"azpatch-{os.getpid()}"
        entrypoint, *arguments = command
        started = self.podman.start(
            "run", "--rm", f"--name={name}", "--pull=never", "--network=host", *SANDBOX, *options,
            f"--entrypoint={entrypoint}", self.name, *arguments,
            log=log,
        )  # fmt: skip
        try:
            yield Container(self.podman, name, started)
        finally:
            self.podman.call("rm", "--force", "--time=0", name, timeout=RUN_TIMEOUT_SECONDS)
            started.wait(RUN_TIMEOUT_SECONDS)

    def config(self) -> Mapping[str, object]:
        """What the image says of itself: User, Entrypoint, Cmd, Labels, ExposedPorts, Env."""
        answer = self.podman.succeed("image", "inspect", "--format={{json .Config}}", self.name)
        config: Mapping[str, object] = json.loads(answer)
        return config


@dataclass(frozen=True)
class Container:
    """A running container."""

    podman: "Podman"
    name: str
    process: subprocess.Popen[bytes]
    """podman itself, which ends with the container and with its exit status."""

    def stop(self, grace: int) -> int:
        """As a kubelet does: SIGTERM, and SIGKILL after ``grace`` seconds. The exit status."""
        self.podman.succeed(
            "stop", f"--time={grace}", self.name, timeout=grace + RUN_TIMEOUT_SECONDS
        )
        return self.process.wait(RUN_TIMEOUT_SECONDS)


class Podman:
    """podman with its own store in ``folder``, apart from any other on the machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "containers.conf"
        conf.write_text(CONTAINERS_CONF)
        self._env = os.environ | {"CONTAINERS_CONF": str(conf)}
        self._command = (
            "podman",
            f"--root={folder / 'root'}",
            f"--runroot={folder / 'run'}",
            f"--tmpdir={folder / 'tmp'}",
            "--storage-driver=overlay",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
            "--runtime=runc",
        )

    def call(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *arguments],
            env=self._env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def has(self, image: str) -> bool:
        return self.call("image", "exists", image, timeout=RUN_TIMEOUT_SECONDS).returncode == 0

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Does not wait for it."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [*self._command, *arguments],
                env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def succeed(self, *arguments: str, timeout: float = RUN_TIMEOUT_SECONDS) -> str:
        """Its standard output. RuntimeError with all it said, if it failed."""
        done = self.call(*arguments, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def built_image() -> Iterator[Image]:
    """The image of this checkout's Dockerfile, built if it is not in the cache.

    Holds the cache's lock meanwhile: podman's store is not for two test runs at a time.
    ImageImpossible where the machine cannot; once a trivial container has run, what fails is
    the Dockerfile's fault and a RuntimeError.
    """
    _require_programs()
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        podman = Podman(folder)
        # Of a test run that was killed.
        podman.call("rm", "--all", "--force", "--time=0", timeout=RUN_TIMEOUT_SECONDS)
        base = _base(podman)
        yield _image(podman, base, folder)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "azpatch" / "images"


def _require_programs() -> None:
    if sys.platform != "linux":
        raise ImageImpossible("an image is built with podman on Linux only")
    if os.geteuid() != 0:
        raise ImageImpossible("mmdebstrap and podman need root here")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise ImageImpossible(f"not installed: {', '.join(missing)} (Debian packages)")


def _base(podman: Podman) -> str:
    """The name of the base in podman's store; made at first, and proved to run."""
    key = hashlib.sha256(repr(BASE_RECIPE).encode()).hexdigest()[:12]
    name = f"localhost/azpatch-base:{key}"
    if not podman.has(name):
        _make_base(podman, name)
    trial = Image(podman, name).run("-c", "print('ok')", entrypoint="python")
    if trial.stdout != "ok\n":
        raise ImageImpossible(f"a trivial container does not run: {trial.stderr.strip()}")
    return name


def _make_base(podman: Podman, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = str(Path(folder, "base.tar"))
        done = subprocess.run(
            [*BASE_RECIPE, archive],
            capture_output=True, text=True, timeout=BASE_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ImageImpossible(f"mmdebstrap made no base image: {done.stderr.strip()[-2000:]}")
        changes = ["--change=ENV PATH=/usr/local/bin:/usr/bin:/bin"]
        podman.succeed("import", "--quiet", *changes, archive, name, timeout=BASE_TIMEOUT_SECONDS)


def _image(podman: Podman, base: str, folder: Path) -> Image:
    """The image of what the Dockerfile is given now: the one that is there, or a new one."""
    image = Image(podman, "localhost/azpatch:test")
    built_from = folder / "built-from"
    inputs = f"{base} {_digest_of_inputs()}"
    if not built_from.exists() or built_from.read_text() != inputs or not podman.has(image.name):
        _build(podman, base, image.name)
        built_from.write_text(inputs)
    return image


def _digest_of_inputs() -> str:
    files = [ROOT / name for name in ("Dockerfile", ".dockerignore", "requirements.lock")]
    sources = (ROOT / "operator" / "azpatch").rglob("*")
    files += sorted(path for path in sources if path.is_file() and path.suffix != ".pyc")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build(podman: Podman, base: str, image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        secrets = _pip_secrets(Path(folder))
        # The stage with the packages has a name of its own, so that pruning leaves it.
        for name, target in (("localhost/azpatch:packages", ["--target=packages"]), (image, [])):
            podman.succeed(
                "build", "--quiet", "--layers", "--isolation=chroot", "--pull-never",
                "--network=host", f"--build-arg=BASE={base}", *secrets, *target,
                f"--tag={name}", str(ROOT),
                timeout=BUILD_TIMEOUT_SECONDS,
            )  # fmt: skip
    podman.succeed("image", "prune", "--force")


def _pip_secrets(folder: Path) -> Sequence[str]:
    """This machine's way to the Python packages, for the time of the build only."""
    settings = {
        key: value
        for key in ("index-url", "extra-index-url", "proxy", "trusted-host")
        if (value := _pip_setting(key))
    }
    bundle = _pip_setting("cert") or ssl.get_default_verify_paths().cafile
    secrets = []
    if bundle and Path(bundle).is_file():
        settings["cert"] = "/run/secrets/ca-bundle"
        secrets.append(f"--secret=id=ca-bundle,src={bundle}")
    conf = folder / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{key} = {settings[key]}\n" for key in settings))
    return [*secrets, f"--secret=id=pip-conf,src={conf}"]


def _pip_setting(key: str) -> str:
    """What pip itself is told here, by its environment or its configuration; empty if nothing."""
    from_environment = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
    if from_environment:
        return from_environment
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", f"global.{key}"],
        capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    return done.stdout.strip()
