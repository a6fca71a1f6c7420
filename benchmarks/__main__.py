"""Run every comparison: `make bench`. Ratios are medians of rounds, with their quartiles."""

from benchmarks import adapter, gate, growth


def main() -> None:
    """Run every comparison; without an SDK first, while there is none."""
    print("Ratio to the same telemetry written by hand: median (quartiles; time a call)")
    adapter.without_sdk()
    adapter.with_sdk(sampled=True)
    adapter.with_sdk(sampled=False)
    adapter.prices()
    gate.calls()
    growth.collection()
    growth.guards()
    growth.sessions()


if __name__ == "__main__":
    main()
