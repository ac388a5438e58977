"""Where the control plane's programs come from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import binaries as lab_binaries
from lab.binaries import RECIPES, BinariesMissing, binaries, cache_folder, kubernetes_version
from lab.processes import PYTHONPATH

FAKE_GO = """#!/bin/sh
# Stands in for the Go compiler, which is not ours: writes what it was asked for, slowly.
echo "$PWD $*" >> "$GO_LOG"
while [ "$1" != -o ]; do shift; done
sleep 0.2
printf '#!/bin/sh\\n' > "$2"
chmod +x "$2"
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no KUBEBUILDER_ASSETS, and no Go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin" if not Path("/usr/bin/go").exists() else "")


@pytest.fixture
def go_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ``go`` on the path; its calls, a line each."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools / "go", FAKE_GO)
    log = tmp_path / "go.log"
    monkeypatch.setenv("GO_LOG", str(log))
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return log


def program(path: Path, content: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def test_kubebuilder_assets_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    etcd = program(tmp_path / "assets" / "etcd")
    program(cache_folder() / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(etcd.parent))
    assert binaries(["etcd"]) == {"etcd": etcd}


def test_what_kubebuilder_assets_lack_comes_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    etcd = program(tmp_path / "assets" / "etcd")
    helm = program(cache_folder() / "helm")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(etcd.parent))
    assert binaries(["etcd", "helm"]) == {"etcd": etcd, "helm": helm}


def test_without_go_the_error_says_what_is_missing_and_what_to_install() -> None:
    program(cache_folder() / "etcd")
    with pytest.raises(BinariesMissing) as problem:
        binaries(["etcd", "helm", "kubectl"])
    message = str(problem.value)
    assert "needs: helm, kubectl." in message
    assert "install Go 1." in message
    assert "KUBEBUILDER_ASSETS" in message


def test_what_is_nowhere_is_built_once(go_log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = binaries()
    assert all(os.access(path, os.X_OK) for path in first.values())
    assert len(go_log.read_text().splitlines()) == len(RECIPES)
    assert "building etcd, kube-apiserver" in capfd.readouterr().err

    assert binaries() == first
    assert len(go_log.read_text().splitlines()) == len(RECIPES)
    assert capfd.readouterr().err == ""


def test_the_pinned_version_is_linked_in(go_log: Path) -> None:
    binaries(["kube-apiserver"])
    linked = f"-X k8s.io/component-base/version.gitVersion={kubernetes_version()}"
    assert linked in go_log.read_text()
    assert kubernetes_version().startswith("v1.")


def test_two_at_a_time_build_once(go_log: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from lab.binaries import binaries; print(binaries(['etcd']))"]
    env = os.environ | {"PYTHONPATH": PYTHONPATH}
    racers = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    answers = [racer.communicate(timeout=30)[0] for racer in racers]
    assert answers[0] == answers[1] != b""
    assert len(go_log.read_text().splitlines()) == 1


def test_a_build_that_fails_leaves_nothing_in_the_cache(go_log: Path, tmp_path: Path) -> None:
    program(tmp_path / "tools" / "go", "#!/bin/sh\nexit 1\n")
    with pytest.raises(BinariesMissing, match="could not build helm"):
        binaries(["helm"])
    assert [path.name for path in cache_folder().iterdir()] == [".lock"]


def test_a_new_pin_is_a_new_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = tmp_path / "go"
    for name in ("go.mod", "go.sum"):
        program(modules / "helm" / name, f"{name} 1\n")
    monkeypatch.setattr(lab_binaries, "MODULES", modules)
    before = cache_folder()
    assert cache_folder() == before
    (modules / "helm" / "go.sum").write_text("go.sum 2\n")
    assert cache_folder() != before
