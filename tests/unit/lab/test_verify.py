"""What `make verify` says about locks."""

from pathlib import Path

import pytest

import verify

HASH = " \\\n    --hash=sha256:00\n"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with three clean locks."""
    monkeypatch.setattr(verify, "ROOT", tmp_path)
    for name in verify.LOCKS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"kopf==1.45.2{HASH}    # via azpatch\n")
    return tmp_path


def test_clean_locks_have_no_problem(root: Path) -> None:
    assert verify.check_locks() == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://registry.example.com/simple\n",
        "-i mirror\n",
        "--find-links wheels\n",
        f"kopf @ https://registry.example.com/kopf.whl{HASH}",
    ],
)
@pytest.mark.parametrize("lock", verify.LOCKS)
def test_the_address_of_a_registry_is_a_problem(root: Path, lock: str, line: str) -> None:
    path = root / lock
    path.write_text(line + path.read_text())
    assert len(verify.check_locks()) == 1
    assert verify.check_locks()[0].startswith(f"{lock}: has the address of a registry")


def test_a_requirement_without_a_hash_is_a_problem(root: Path) -> None:
    with (root / verify.DEVELOPMENT_LOCK).open("a") as lock:
        lock.write("ruff==1.0 ; python_version < '3.12'\n")
    assert verify.check_locks() == ["requirements-dev.lock: ruff==1.0 has no hash"]


def test_development_must_have_the_operators_versions(root: Path) -> None:
    (root / verify.DEVELOPMENT_LOCK).write_text(f"kopf==1.46.0{HASH}")
    assert verify.check_locks() == ["kopf: 1.45.2 for the operator, 1.46.0 for development"]
