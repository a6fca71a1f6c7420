"""Metrics: what is counted and measured in the process, read at collection."""
