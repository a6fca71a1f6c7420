.PHONY: backends otelcol-sources stack faults

## make backends  build the real Collector, Prometheus, Jaeger, Alertmanager, Cortex, and what checks rules and chart (Go 1.26; ~20 min the first time)
backends:
	@$(PYTHON) -m collector.backends

## make backends-thanos  build Thanos too, for the tests of a distributed store (~5 min; CI runs them on Cortex alone)
.PHONY: backends-thanos
backends-thanos:
	@$(PYTHON) -m collector.backends thanos

# Regenerates the Collector's main program after a change to collector/builder.yaml.
otelcol-sources:
	GOTOOLCHAIN=local go run go.opentelemetry.io/collector/cmd/builder@v0.158.0 \
	  --config collector/builder.yaml --skip-compilation

STACK ?=

## make stack     run the whole stack on this machine, in the foreground; Ctrl-C stops it (STACK=--help)
stack: $(VENV)/.installed backends
	@! command -v npm >/dev/null || dashboards/web/setup.sh --no-browser || true
	@$(BIN)/python -m collector.stack $(STACK)

FAULTS := outages disk_faults application_faults

## make faults    what each fault costs, in three tables: the fault tests with outages of one minute (~45 min; ~21 with -j3)
faults: $(FAULTS:%=faults-%)
.PHONY: $(FAULTS:%=faults-%)
$(FAULTS:%=faults-%): faults-%: $(VENV)/.installed backends
	@OTEL_BUDGET_FAULT_SECONDS=60 $(BIN)/python -m pytest tests/backends/test_$*.py -s
