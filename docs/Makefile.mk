.PHONY: docs docs-links docs-reference

# Its own environment: Sphinx is for whoever writes pages, and is a third of a minute to install.
DOCS_VENV := .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin

$(DOCS_VENV)/.installed: pyproject.toml
	@test -x $(DOCS_BIN)/python || $(PYTHON) -m venv $(DOCS_VENV)
	@echo "Installing Sphinx into $(DOCS_VENV) ..."
	@$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

## make docs      build the documentation into build/docs; a warning, or a link that leads nowhere, is an error
docs: $(DOCS_VENV)/.installed
	@$(DOCS_BIN)/python -m docs.builder --check
	@$(DOCS_BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/docs
	@echo "build/docs/index.html"

## make docs-links  look up the documentation's external links (needs a network)
docs-links: $(DOCS_VENV)/.installed
	@$(DOCS_BIN)/python -m sphinx -b linkcheck --quiet -c docs -d build/doctrees . build/docs-links

## make docs-reference  write docs/reference/ from semconv.py and the telemetry that is emitted
docs-reference: $(DOCS_VENV)/.installed
	@$(DOCS_BIN)/python -m docs.builder
