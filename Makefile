# `make demo` and `make test` need nothing but make, Python 3.11 to 3.13, and Go or
# KUBEBUILDER_ASSETS for the control plane; they make the rest themselves, once.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# What else pytest is given, for example: make test PYTEST_ARGS='tests/unit -k calendar'
PYTEST_ARGS ?=
# Test processes. The tests wait more than they compute: on two cores three are busy.
PYTEST_WORKERS ?= 3
# How many fleets `make simulate` simulates, and the first of them; a failing one says its number.
SEEDS ?= 200
FIRST_SEED ?= 0
# 1: a combination of trouble and step that never happened fails. From 2,500 seeds on it does anyway.
COVERAGE ?=
# The fleet for `make azsim` (without one, a hundred machines of every kind), and how fast time
# passes there.
FLEET ?= .lab/fleet.yaml
PACE ?= 60

VENV := .venv
BIN := $(VENV)/bin
# The interpreter that the virtual environment is made with; once made, it keeps its own.
PYTHON ?= $(or $(realpath $(BIN)/python),python3)

# The stamps are named after what they depend on, so that only a change of content counts, not a
# date that a checkout touches. The first is the environment, the second azpatch and azsim in it.
LOCKED := $(VENV)/.lock-$(shell { cat requirements-dev.lock; $(PYTHON) -VV || true; } 2>&1 | git hash-object --stdin)
READY := $(VENV)/.project-$(shell git hash-object pyproject.toml)

# uv resolves for every Python and platform that the project supports at once. The lock names no
# registry, so that each machine uses its own.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(LOCKED):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "azpatch needs Python 3.11, 3.12 or 3.13, which $(PYTHON) is not." \
	    "Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "installing the locked dependencies into $(VENV) (a minute, once per lock)" >&2
	@rm -f $(VENV)/.lock-* $(VENV)/.project-*
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv module is missing;" \
	  "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes --requirement requirements-dev.lock
	@touch $@

$(READY): $(LOCKED)
	@rm -f $(VENV)/.project-*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index \
	  --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: $(READY) ## Make the virtual environment from the lock, if the lock changed

.PHONY: binaries
binaries: $(READY) ## Find or build the control plane's programs
	@$(BIN)/python -m lab binaries

.PHONY: demo
demo: binaries ## Watch policies patch simulated machines (DEMO_EXIT=1: end with the table)
	@$(BIN)/python tools/demo.py

.PHONY: test
test: binaries ## Run every test on real parts
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadscope $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: binaries ## Run the long forms of what `make test` has a short one of (beside chaos and simulate)
	@SLOW=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadscope \
	  tests/e2e/test_arc.py tests/simulation/test_simulation.py $(PYTEST_ARGS)

.PHONY: chaos
chaos: binaries ## Kill the operator over a hundred times: at each of its side effects, and in a wave of 2,000
	@CHAOS=long $(BIN)/python -m pytest tests/e2e/test_crash_points.py tests/e2e/test_wave_killed.py --capture=no

.PHONY: simulate
simulate: $(READY) ## Run the whole operator through simulated troubles (SEEDS=200 FIRST_SEED=0)
	@PYTHONHASHSEED=0 $(BIN)/python -m simulation --seeds $(SEEDS) --first-seed $(FIRST_SEED) \
	  $(if $(filter 1,$(COVERAGE)),--require-coverage)

.PHONY: lint
lint: $(READY) ## Check style, formatting and the layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(READY) ## Format the code and sort imports
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

.PHONY: typecheck
typecheck: $(READY) ## Check types strictly
	@$(BIN)/mypy

.PHONY: generate
generate: $(READY) ## Regenerate what comes from the types: CRDs, the chart's copies, references
	@$(BIN)/python tools/generate.py

.PHONY: verify
verify: $(READY) ## Regenerate and fail on a difference; check the locks
	@$(BIN)/python tools/verify.py

.PHONY: bench
bench: binaries ## Measure the operator on a large fleet
	@$(BIN)/python tools/bench.py

.lab/fleet.yaml: $(READY)
	@mkdir -p .lab
	@$(BIN)/azsim fleet --machines 100 --seed 1 > $@.partial
	@mv $@.partial $@

.PHONY: azsim
azsim: $(READY) $(FLEET) ## Serve a simulated Azure (FLEET=file PACE=60)
	@$(BIN)/azsim serve --fleet $(FLEET) --pace $(PACE) --env-file azsim.env --journal azsim.jsonl

.PHONY: controlplane
controlplane: $(READY) ## Leave a control plane running and print its KUBECONFIG
	@$(BIN)/python -m lab start

.PHONY: controlplane-stop
controlplane-stop: $(READY) ## End that control plane
	@$(BIN)/python -m lab stop

.PHONY: lock
lock: $(READY) ## Resolve the dependencies anew: the operator's, development's, the Azure CLI's
	@$(COMPILE) --upgrade --output-file requirements.lock pyproject.toml
	@$(COMPILE) --upgrade --extra azsim --group dev --constraint requirements.lock \
	  --output-file requirements-dev.lock pyproject.toml
	@$(COMPILE) --upgrade --output-file tests/cli/requirements.lock tests/cli/requirements.in
	@$(BIN)/python tools/verify.py --locks

.PHONY: clean
clean: ## Remove the environment, logs and caches of this checkout
	@rm -rf $(VENV) .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
