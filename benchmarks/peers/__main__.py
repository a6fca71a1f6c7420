"""All packages in a table: `make bench-peers`. With a name, that one alone, as JSON."""

from __future__ import annotations

import json
import sys

from benchmarks.peers.packages import OWN, PEERS
from benchmarks.peers.run import time_apart, time_here
from benchmarks.peers.table import lines


def main() -> None:
    """Time one package here, or all of them apart."""
    packages = (OWN, *PEERS)
    if sys.argv[1:]:
        [package] = (package for package in packages if package.name == sys.argv[1])
        print(json.dumps(time_here(package)))
        return
    results = []
    for package in packages:
        print(f"Timing {package.name} ...", file=sys.stderr)
        results.append(time_apart(package))
    print("\n".join(lines(results)))


if __name__ == "__main__":
    main()
