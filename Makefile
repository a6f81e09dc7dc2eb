# `make` lists the targets. Nothing outside this directory is written (but pip's
# cache), no root is needed, and a second `make setup` does nothing.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run test test-binary test-machine test-packages check bench bench-api bench-jobs bench-webhooks chaos build wheel lock clean always

# Any CPython from 3.11 with pip and venv: `make setup PYTHON=python3.13`.
# Unless told again, an existing environment keeps the Python it was made with.
PYTHON ?= $(or $(shell made_with="$$(cat .venv/made-with 2>/dev/null)"; test -x "$$made_with" && echo "$$made_with"),python3)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_REQUIRE_VIRTUALENV := 1
# Every process of every test would compile the program again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin

# The name of this mark holds what the environment depends on besides the lock:
# the Python's version and place and this directory (scripts carry its path).
PYTHON_MARK := $(shell "$(PYTHON)" -c 'import os, sys, zlib; place = zlib.crc32(os.fsencode(sys.base_prefix + os.getcwd())); print("%d.%d.%d-%08x" % (*sys.version_info[:3], place))' 2>/dev/null || echo none)
ENVIRONMENT := .venv/locked-$(PYTHON_MARK)
INSTALLED := .venv/installed
FETCHED := .stores/fetched
STORES := .stores/bin/mongod .stores/bin/redis-server
# The program is built in an environment of its own, which holds nothing else.
BUILD_BIN := .build/venv/bin
BUILDER := .build/locked-$(PYTHON_MARK)
# Linters of the files for containers and Kubernetes, which are large and used once.
SAMPLER := .build/samples/locked-$(PYTHON_MARK)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo 'ARGS="…" is passed on by run, test and bench.'

setup: $(INSTALLED) $(FETCHED) ## Make .venv from requirements.lock and fetch the stores
	@:

run: setup ## Run NovaPulse in ./var
	@exec $(BIN)/novapulse run --root var $(ARGS)

# Each worker has stores and an appliance of its own; a file's tests stay together. Much of the
# time is waiting, so one worker more than two cores have. The longest files go first.
WORKERS ?= 3
SHARED_TESTS := tests/e2e tests/integration tests/unit

# What kills processes under load wants the machine for itself. Of the others some hold a promise
# of time, which a neighbour's start of a database can break: what fails beside others is told, and
# has to pass alone. With ARGS, all is one run.
test: setup ## Run the unit, integration and end-to-end tests (WORKERS=N at a time)
ifdef ARGS
	@exec $(BIN)/python -m pytest $(ARGS)
else
	@failed=; $(BIN)/python -m pytest tests/chaos || failed=1; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(SHARED_TESTS); \
	case $$? in \
	  0) ;; \
	  1) echo 'Once more, alone: what failed beside others (see above)'; \
	     $(BIN)/python -m pytest --last-failed $(SHARED_TESTS) || failed=1 ;; \
	  *) failed=1 ;; \
	esac; test -z "$$failed"
endif

CHECKS := 'ruff check --quiet .' 'ruff format --check --quiet .' 'mypy --no-error-summary' \
  'lint-imports --no-cache --no-logo' 'pytest --quiet tests/unit/test_house.py'

check: setup ## Lint, formatting, types, import contracts, house rules
	@failed=; for check in $(CHECKS); do echo "$$check"; $(BIN)/$$check || failed=1; done; test -z "$$failed"

bench: setup ## Measure and print figures, as ratios where a peer exists
	@exec $(BIN)/python -m pytest -s --timeout=0 tests/benchmarks $(ARGS)

bench-api: setup ## Set the task endpoints beside NestJS (needs node, npm and wrk)
	@exec $(BIN)/python -m pytest -s --timeout=0 tests/benchmarks/api $(ARGS)

bench-jobs: setup ## Race with BullMQ and stock Huey (needs node and npm)
	@exec $(BIN)/python -m pytest -s --timeout=0 tests/benchmarks/jobs $(ARGS)

bench-webhooks: setup ## Race with NestJS and BullMQ dispatchers (needs node and npm)
	@exec $(BIN)/python -m pytest -s --timeout=0 tests/benchmarks/webhooks $(ARGS)

chaos: setup ## Kill everything at random for minutes: nothing that was accepted may be lost
	@CHAOS_TASKS=20000 CHAOS_KILLS=10 CHAOS_DRAINS=20 CHAOS_SECONDS=60 CHAOS_OUTAGES=1 CHAOS_FAILOVERS=10 exec $(BIN)/python -m pytest -s tests/chaos $(ARGS)

build: setup $(BUILDER) ## Build archives, Debian package and bills of materials into dist/
	@$(BUILD_BIN)/python packaging/build.py $(ARGS)

wheel: setup ## Build the source archive and the wheel into dist/
	$(BIN)/python -m hatchling build -d dist

# The tree is what the archives hold. Tests must find neither a Python nor a run bit in /tmp.
test-binary: setup $(BUILDER) ## Run the end-to-end tests against the built program
	@test -x .build/tree/novapulse || $(BUILD_BIN)/python packaging/build.py --only-tree
	@exec $(BIN)/python packaging/test_binary.py $(ARGS)

# The short form: what is built is packed in haste, and only the booted machine is tried.
test-machine: setup $(BUILDER) ## Install, live with and remove both packages in a booted Debian (root)
	@test -x .build/tree/novapulse || $(BUILD_BIN)/python packaging/build.py --only-tree
	@PACKED_IN_HASTE=1 exec $(BIN)/python -m pytest tests/packaging/test_machine.py $(ARGS)

test-packages: setup $(BUILDER) $(SAMPLER) ## The same, what is packed, and the samples, after make build (root)
	@exec $(BIN)/python -m pytest tests/packaging $(ARGS)

# Existing pins are kept where they still fit; LOCK_ARGS=--upgrade moves them all.
lock: ## Write the three lock files anew from pyproject.toml
	@test -x .lock-venv/bin/uv || { "$(PYTHON)" -m venv --clear .lock-venv && .lock-venv/bin/python -m pip install --quiet uv; }
	.lock-venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra dev \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o requirements.lock $(LOCK_ARGS)
	.lock-venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra build \
	  --constraints requirements.lock \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o requirements-build.lock
	.lock-venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["samples"], sep="\n")' > .lock-venv/samples.in
	.lock-venv/bin/uv pip compile .lock-venv/samples.in --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o requirements-samples.lock

clean: ## Remove everything that make made, except ./var
	rm -rf .venv .lock-venv .build .stores dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find novapulse supervisor packaging tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(ENVIRONMENT): requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo 'make: "$(PYTHON)" is no Python 3.11 or newer; try: make setup PYTHON=python3.12' >&2; exit 69; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'make: "$(PYTHON)" comes without venv; on Debian and Ubuntu install python3-venv' >&2; exit 69; }
	@echo "Making .venv with $$("$(PYTHON)" --version) …" >&2
	@"$(PYTHON)" -m venv --clear .venv
	@"$(PYTHON)" -c 'import sys; print(sys._base_executable)' > .venv/made-with
	@$(BIN)/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements.lock
	@touch "$@"

$(INSTALLED): $(ENVIRONMENT) pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch "$@"

$(BUILDER): requirements-build.lock
	@rm -rf .build/venv .build/tree .build/locked-* && mkdir -p .build
	@"$(PYTHON)" -m venv .build/venv
	@$(BUILD_BIN)/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements-build.lock
	@touch "$@"

$(SAMPLER): requirements-samples.lock
	@rm -rf .build/samples && mkdir -p .build
	@"$(PYTHON)" -m venv .build/samples
	@.build/samples/bin/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements-samples.lock
	@touch "$@"

# The stores are fetched even where PATH has some, so that every test runs
# against the same versions. The date of the script stands for its pins.
$(FETCHED): packaging/fetch_stores.py $(ENVIRONMENT) $(if $(filter-out $(wildcard $(STORES)),$(STORES)),always)
	@$(BIN)/python -I packaging/fetch_stores.py .stores/bin
	@mkdir -p .stores && touch "$@"
