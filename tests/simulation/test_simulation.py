"""The whole operator in virtual time: seeds that must stay clean, and mutations that must not."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
from mutations import MUTATIONS

from lab.folders import ROOT

SEEDS_A_TEST = 25
TESTS = 16 if os.environ.get("SLOW") else 8
"""Some of the seeds of `make simulate`, in pieces that test processes share; twice as many in
`make test-slow`."""

PLACES = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def run(*arguments: str | Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """A Python program in which sets of strings have the order that a seed implies."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("operator", "tools"))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
        text=True,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("number", range(TESTS))
def test_nothing_is_done_twice_and_nothing_lost(number: int) -> None:
    first = number * SEEDS_A_TEST
    ended = run(
        "-m", "simulation", f"--seeds={SEEDS_A_TEST}", f"--first-seed={first}", "--processes=1"
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no seed failed" in ended.stdout


def test_a_seed_tells_the_same_story_each_time() -> None:
    # Of one in which tokens are asked for again, which azure-core does at a time that it draws.
    tell = (
        "import random; random.seed({}); from simulation.run import simulate\n"
        "print(simulate(26).fingerprint)"
    )
    once, again = run("-c", tell.format(4)), run("-c", tell.format(5))
    assert once.returncode == 0, once.stderr
    assert once.stdout == again.stdout


def test_another_seed_tells_another_story() -> None:
    tell = "from simulation.run import simulate; print(simulate({}).fingerprint)"
    assert run("-c", tell.format(3)).stdout != run("-c", tell.format(4)).stdout


def test_trouble_that_never_struck_in_a_step_is_a_failure_where_that_is_asked_for() -> None:
    ended = run("-m", "simulation", "--seeds=1", "--require-coverage")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "no seed failed" in ended.stdout
    assert "never happened: the clock jumps, in step intent" in ended.stdout


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_operator_is_caught(name: str) -> None:
    mutation = MUTATIONS[name]
    program = Path(__file__).with_name("mutations.py")
    ended = run(program, name, str(mutation.first), str(mutation.within))
    assert ended.returncode == 0, ended.stderr
    _, _, violation = ended.stdout.strip().partition(" ")
    assert violation.startswith(f"{mutation.by}: "), ended.stdout
    assert mutation.word in violation


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_function_takes_what_the_right_one_takes(name: str) -> None:
    """Else it is its TypeError that is caught."""
    of_functions: list[Any] = [
        one for one in MUTATIONS[name].make() if callable(getattr(one.getter(), one.attribute))
    ]
    for one in of_functions:
        right = getattr(one.getter(), one.attribute)
        takes = inspect.signature(right).parameters.values()
        named = {each.name: None for each in takes if each.kind is each.KEYWORD_ONLY}
        others = [each for each in takes if each.kind in PLACES]
        inspect.signature(one.new).bind(*others, **named)


@pytest.mark.parametrize(
    "what",
    [
        "one_time_people.OneTimePeople._changed",
        "judge.Judge._entry",
        "run_rules.RunRules._asked",
        "heard._windows",
    ],
)
def test_a_seed_in_which_a_judge_or_a_person_raises_has_failed(what: str) -> None:
    tell = (
        "from unittest.mock import patch; from simulation.run import simulate\n"
        f"with patch('simulation.{what}', side_effect=LookupError('nowhere')):\n"
        "    print(simulate(1).violation)"
    )
    ended = run("-c", tell)
    assert ended.stdout.startswith("the simulation itself: LookupError('nowhere')"), ended.stderr


def test_a_failing_seed_prints_its_story_and_how_to_see_it_again() -> None:
    tell = (
        "from mutations import MUTATIONS; from contextlib import ExitStack\n"
        "from simulation.report import Report; from simulation.run import simulate\n"
        "with ExitStack() as stack:\n"
        "    for one in MUTATIONS['intent forgotten'].make(): stack.enter_context(one)\n"
        "    print(Report().failure(simulate(0)))"
    )
    ended = run("-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{tell}")
    assert "a POST without an intent before it" in ended.stdout
    assert "make simulate SEEDS=1 FIRST_SEED=0" in ended.stdout
    assert "POST assessPatches" in ended.stdout
