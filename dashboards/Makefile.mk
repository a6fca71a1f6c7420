.PHONY: dashboards dashboards-web pictures
## make dashboards  write the dashboards, the Prometheus rules and the chart's files from dashboards/builder
dashboards: $(VENV)/.installed
	@$(BIN)/python -m dashboards.builder

## make dashboards-web  show the dashboards in a browser, with data from PROMETHEUS (needs Node.js 20)
PROMETHEUS ?= http://127.0.0.1:9090
JAEGER ?= http://127.0.0.1:16686
dashboards-web: $(VENV)/.installed
	@dashboards/web/setup.sh --no-browser
	@$(BIN)/python -m dashboards.web.serve --prometheus $(PROMETHEUS) --jaeger $(JAEGER)

## make pictures  redraw the pictures of the documentation (needs backends and Chromium)
pictures: $(VENV)/.installed backends
	@dashboards/web/setup.sh
	@PYTHONPATH=tests:tests/dashboards $(BIN)/python -m pictures

## make bench-queries  what the dashboards cost a Prometheus with a fleet's history (FLEET="--processes 100 --jobs 1000 --days 7": an hour)
FLEET ?=
.PHONY: bench-queries
bench-queries: $(VENV)/.installed backends
	@$(BIN)/python -m benchmarks.queries $(FLEET)

## make bench-capacity  what a fleet's store needs: series, samples, memory and disk, with jobs and without (15 minutes)
.PHONY: bench-capacity
bench-capacity: $(VENV)/.installed backends
	@$(BIN)/python -m benchmarks.capacity $(FLEET)
