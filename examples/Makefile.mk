.PHONY: examples test-examples lint-integrations

# A separate environment: LiteLLM pins an older openai than the newest agents need.
EXAMPLES_VENV := .venv-examples
EXAMPLES_BIN := $(EXAMPLES_VENV)/bin

$(EXAMPLES_VENV)/.installed: pyproject.toml
	@test -x $(EXAMPLES_BIN)/python || $(PYTHON) -m venv $(EXAMPLES_VENV)
	@echo "Installing the libraries of the examples into $(EXAMPLES_VENV) (about 550 MB) ..."
	@$(EXAMPLES_BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25'
	@$(EXAMPLES_BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples]'
	@touch $@

## make examples  install what examples and integrations need, in a separate environment
examples: $(EXAMPLES_VENV)/.installed

## make test-examples  run examples and integrations against the real libraries, without a network
test-examples: $(EXAMPLES_VENV)/.installed
	@$(EXAMPLES_BIN)/python -m pytest tests/examples tests/integrations

## make lint-integrations  mypy (strict) of the integrations, with the types of their libraries
lint-integrations: $(EXAMPLES_VENV)/.installed
	@$(EXAMPLES_BIN)/python -m mypy --config-file= --strict --python-version 3.11 \
	  --follow-imports=silent otel_budget/integrations
