"""``python -m otel_budget``: the command ``otel-budget``."""

from otel_budget.cli import main

if __name__ == "__main__":
    main()
