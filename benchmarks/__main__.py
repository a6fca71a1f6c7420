"""Runs every comparison: `make bench`. Ratios are medians of all rounds, with quartiles."""

from benchmarks import adapter, gate, growth


def main() -> None:
    """Run every comparison; those without an SDK first, before any provider exists."""
    print("Ratio to the same telemetry written by hand: median (quartiles; time per call)")
    adapter.without_sdk()
    adapter.with_sdk(sampled=True)
    adapter.with_sdk(sampled=False)
    adapter.prices()
    gate.calls()
    growth.collection()
    growth.levels()
    growth.polls()
    growth.guards()
    growth.sessions()


if __name__ == "__main__":
    main()
