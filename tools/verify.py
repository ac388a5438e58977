"""Regenerates what is generated and fails on a difference; checks that the locks are clean."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPERATOR_LOCK = "requirements.lock"
DEVELOPMENT_LOCK = "requirements-dev.lock"
LOCKS = (OPERATOR_LOCK, DEVELOPMENT_LOCK, "tests/cli/requirements.lock")

ADDRESS = re.compile(r"https?://|^\s*(-i|--(extra-)?index-url|--find-links|-f)\b", re.MULTILINE)
"""What would tie a lock to one registry."""

UNHASHED = re.compile(r"^([\w.-]+==\S+)[^\n]*(?<!\\)$", re.MULTILINE)
"""A requirement whose line does not go on with its hashes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="verify", description=__doc__)
    parser.add_argument("--locks", action="store_true", help="check the locks only")
    problems = check_locks()
    if not parser.parse_args().locks:
        problems += check_generated()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def check_locks() -> list[str]:
    """Each lock has hashes and no address; development has what the operator has."""
    contents = {name: (ROOT / name).read_text() for name in LOCKS}
    problems = [
        f"{name}: has the address of a registry: {found[0].strip()}"
        for name, content in contents.items()
        if (found := ADDRESS.search(content))
    ]
    problems += [
        f"{name}: {package} has no hash"
        for name, content in contents.items()
        for package in UNHASHED.findall(content)
    ]
    operator, development = (
        dict(pins(contents[name])) for name in (OPERATOR_LOCK, DEVELOPMENT_LOCK)
    )
    problems += [
        f"{name}: {version} for the operator, {development.get(name, 'nothing')} for development"
        for name, version in operator.items()
        if development.get(name) != version
    ]
    return problems


def pins(lock: str) -> list[tuple[str, str]]:
    """Name with its marker, if any, and version of each requirement."""
    lines = re.findall(r"^([\w.-]+)==([^\s;]+)( ;[^\\\n]*)?", lock, re.MULTILINE)
    return [(f"{name}{marker.strip()}", version) for name, version, marker in lines]


def check_generated() -> list[str]:
    """Runs the generator; its work must leave no difference to what is checked in."""
    before = state()
    subprocess.run([sys.executable, ROOT / "tools" / "generate.py"], check=True, cwd=ROOT)
    changed = sorted(path for path, _ in state() ^ before)
    return [
        f"{path}: generated anew, it differs; run `make generate` and commit it" for path in changed
    ]


def state() -> set[tuple[str, bytes]]:
    """Every file that Git tracks or would, with its content."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    paths = {path for path in listed.split("\0") if path}
    return {(path, (ROOT / path).read_bytes()) for path in paths if (ROOT / path).is_file()}


if __name__ == "__main__":
    sys.exit(main())
