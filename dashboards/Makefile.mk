.PHONY: dashboards
## make dashboards  write the dashboards and the Prometheus rules from dashboards/builder
dashboards: $(VENV)/.installed
	@$(BIN)/python -m dashboards.builder
