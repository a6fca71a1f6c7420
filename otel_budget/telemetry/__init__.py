"""One call of a guard as span, event and metrics, by the OpenTelemetry API alone."""
