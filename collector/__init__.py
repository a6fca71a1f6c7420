"""The pipeline behind otel-budget: configuration, the programs it runs on, and their harness."""
