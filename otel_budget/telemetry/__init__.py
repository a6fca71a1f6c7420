"""Each call of a guard as span, event and metrics, using the OpenTelemetry API alone."""
