# Every target sets up what it needs from the project's files: Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# The environment is updated when the requirements change; the checkout is installed editable.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "otel-budget needs Python 3.11 or newer; choose it with: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing otel-budget and its development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Without the development tools, unless they are there.
DEMO_VENV := $(if $(wildcard $(VENV)/.installed),$(VENV),.venv-demo)

.venv-demo/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "otel-budget needs Python 3.11 or newer; choose it with: make PYTHON=python3.12"; exit 1; }
	@echo "Installing otel-budget with its command into .venv-demo (some 20 MB, once) ..."
	@test -x .venv-demo/bin/python || $(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -e '.[cli]'
	@touch $@

## make demo      run the demo: a real call log through a budget guard, no server needed
demo: $(DEMO_VENV)/.installed
	@$(DEMO_VENV)/bin/otel-budget demo

# Two at a time, because most tests wait; a module stays together, since its tests share programs.
TEST_PROCESSES ?= 2

## make test      run the tests (backend tests are skipped until `make backends` has run)
test: $(VENV)/.installed
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

## make lint      ruff, formatting and mypy (strict)
lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

## make format    format and fix with ruff
format: $(VENV)/.installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

## make bench     the comparisons of benchmarks/, as ratios measured side by side
bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks

RELEASE_VENV := .venv-release

$(RELEASE_VENV)/.installed: pyproject.toml
	@test -x $(RELEASE_VENV)/bin/python || $(PYTHON) -m venv $(RELEASE_VENV)
	@$(RELEASE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[release]'
	@touch $@

## make release   build the distributions and try each in a clean environment; uploads nothing
.PHONY: release
release: $(RELEASE_VENV)/.installed
	@.ci/release $(RELEASE_VENV)/bin/python

# Its own environment: nothing else needs the tool whose operators it takes.
MUTANTS_VENV := .venv-mutants
MUTANTS_BIN := $(MUTANTS_VENV)/bin
MUTANTS ?= 200
SEED ?= 1
PROCESSES ?= 2
ONLY ?=

$(MUTANTS_VENV)/.installed: pyproject.toml
	@test -x $(MUTANTS_BIN)/python || $(PYTHON) -m venv $(MUTANTS_VENV)
	@echo "Installing what breaks the core into $(MUTANTS_VENV) ..."
	@$(MUTANTS_BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutants]'
	@touch $@

## make mutants   break a copy of the core MUTANTS times (by SEED), and see how often a test notices
.PHONY: mutants
mutants: $(MUTANTS_VENV)/.installed
	@nice $(MUTANTS_BIN)/python -m mutants --mutants $(MUTANTS) --seed $(SEED) \
	  --processes $(PROCESSES) --only '$(ONLY)'

## make bench-footprint  what each extra installs, and what an import takes (some 3 minutes)
.PHONY: bench-footprint
bench-footprint:
	@$(PYTHON) -m benchmarks.footprint

# Its own environment: the packages bring clients and frameworks. One that cannot be installed is
# named, and tried again the next time.
PEERS_VENV := .venv-peers
PEERS_BIN := $(PEERS_VENV)/bin
PEERS := benchmarks/peers/requirements.txt
PEERS_INSTALL := $(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check

$(PEERS_VENV)/.installed: pyproject.toml $(PEERS)
	@test -x $(PEERS_BIN)/python || $(PYTHON) -m venv $(PEERS_VENV)
	@echo "Installing what otel-budget is compared with into $(PEERS_VENV) (about 200 MB) ..."
	@if $(PEERS_INSTALL) -e . -r $(PEERS); then touch $@; else \
	  echo "They cannot be installed together; one by one:"; \
	  $(PEERS_INSTALL) -e . opentelemetry-sdk -c $(PEERS) || exit 1; \
	  for package in $$(grep '^[a-z]' $(PEERS)); do \
	    $(PEERS_INSTALL) -c $(PEERS) $$package || echo "$$package cannot be installed."; \
	  done; \
	fi

## make bench-peers  what a recorded decision costs with other packages (for readers, not in CI)
.PHONY: bench-peers
bench-peers: $(PEERS_VENV)/.installed
	@$(PEERS_BIN)/python -m benchmarks.peers

# In CI nothing is skipped: what the tests need beyond `make backends` is installed first.
ifeq ($(CI),true)
test: ci-needs
endif
.PHONY: ci-needs
ci-needs: examples
	@dashboards/web/setup.sh
	@examples/setup.sh

include tests/Makefile.mk
include collector/Makefile.mk
include dashboards/Makefile.mk
include examples/Makefile.mk
include docs/Makefile.mk
