"""Writes the dashboards and the Prometheus rules from one description of each.

`python -m dashboards.builder` (or `make dashboards`) writes `dashboards/grafana/*.json`,
`dashboards/perses/*.json` and `collector/prometheus/rules/*.yml`. All their queries
come from `queries.py`, the thresholds from `dashboards/thresholds.toml`.
"""
