"""What a Redis guard's options may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from otel_budget.guards.limit import Limit
from otel_budget.guards.redis_guard import steps


def check_options(
    limits: Sequence[Limit],
    *,
    when_down: str,
    timeout: float,
    prefix: str,
    shard: str | None,
    forget_after: float,
) -> None:
    """Raise `ValueError`, in one sentence, for an option that a guard cannot have."""
    if when_down not in ("closed", "open"):
        raise ValueError(f"when_down must be 'closed' or 'open', not {when_down!r}")
    if shard not in (None, "tenant"):
        raise ValueError(f"shard must be 'tenant' or None, not {shard!r}")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix must be a name without braces, not {prefix!r}")
    for name, value in (("timeout", timeout), ("forget_after", forget_after)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be seconds above zero, not {value}")
    names = set()
    for limit in limits:
        if limit.cap * steps.SCALE[limit.unit] > steps.MOST:
            most = steps.MOST // steps.SCALE[limit.unit]
            raise ValueError(f"a cap in Redis must be at most {most:,} {limit.unit}")
        name = steps.account_name("", limit, None)
        if name in names:
            raise ValueError(
                f"two limits share one count in Redis: per {limit.per}, in {limit.unit}, by "
                f"{limit.window}; give one a resource of its own"
            )
        names.add(name)
