"""Writes `docs/reference/` from the telemetry's names and from telemetry that is emitted."""
