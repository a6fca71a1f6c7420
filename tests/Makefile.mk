.PHONY: test-lowest test-pythons

## make test-lowest   run the core's tests with the lowest versions that pyproject.toml allows
test-lowest:
	@tests/core_tests.sh $(PYTHON) .venv-lowest --lowest

## make test-pythons  run the core's tests on other Pythons, where they are on this machine
PYTHONS ?= 3.12 3.13
test-pythons: $(PYTHONS:%=test-python-%)
.PHONY: $(PYTHONS:%=test-python-%)
$(PYTHONS:%=test-python-%): test-python-%:
	@tests/core_tests.sh $* .venv-$*

## make test-alerts   the alerts over simulated months of traffic (SEEDS="707 1010" chooses them, RULES=FOLDER other rules)
SEEDS ?= 707 1010
RULES ?=
.PHONY: test-alerts
test-alerts: $(VENV)/.installed backends
	@SEEDS="$(SEEDS)" RULES="$(RULES)" $(BIN)/python -m pytest -s tests/dashboards/alerts_over_a_month.py

## make fleet     eight processes, a Redis Cluster, Collectors and a distributed store, one of each killed in turn (~2 min)
.PHONY: fleet
fleet: $(VENV)/.installed backends
	@PYTHONPATH=.:tests $(BIN)/python -m support.fleet
