"""The pipeline behind otel-budget: its configuration, its programs, and how to run them."""
