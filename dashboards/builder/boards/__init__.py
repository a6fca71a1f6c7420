"""The dashboards: what is on each, as one description for Grafana and Perses."""
