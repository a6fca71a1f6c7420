"""Calls by the reason why they count otherwise than they should."""

from __future__ import annotations

import logging
from typing import Final

from otel_budget import semconv

_log: Final = logging.getLogger(__name__)

_HOW_TO_DECIDE: Final = {
    semconv.CACHE_ACCOUNTING: "Give its provider in session_info, or report "
    "TokenUsage.of(response.usage).",
    semconv.REASONING_ACCOUNTING: "Report the usage with its total.",
}


class ReasonCounts:
    """How many calls there were for each reason. Its owner holds a lock, which is reentrant."""

    def __init__(self) -> None:
        # Cells, so that a call in the middle of `add` cannot be lost.
        self._cells: dict[str, list[int]] = {}

    def add(self, reason: str) -> bool:
        """Count a call. Whether it is the first for this reason."""
        cell = self._cells.setdefault(reason, [0])
        cell[0] += 1
        return cell[0] == 1

    def by_reason(self) -> dict[str, int]:
        """The counts."""
        return {reason: cell[0] for reason, cell in list(self._cells.items())}


def log_uncounted(model: str | None, reason: str) -> None:
    """Log the first call that adds nothing for `reason`."""
    if reason == semconv.MALFORMED_USAGE:
        _log.warning(
            "A call (model %s) adds nothing to the limits because its usage cannot be read. Report "
            "TokenUsage.of(response.usage).",
            model,
        )
    else:
        _log.warning(
            "A call (model %s) adds nothing to the limits in USD because its price is unknown: "
            "%s. Give its model and provider in session_info, pass FlatRates as prices, or add "
            "a limit in tokens.",
            model,
            reason,
        )


def log_upper_bound(model: str | None, reason: str) -> None:
    """Log the first call that counts as the most it may have used, for `reason`."""
    _log.warning(
        "A call (model %s) counts as the most that it may have used: %s. %s",
        model,
        reason,
        _HOW_TO_DECIDE.get(reason, ""),
    )


def log_unreserved(model: str | None, reason: str) -> None:
    """Log the first call that reserves nothing in USD for `reason`."""
    _log.warning(
        "A call (model %s) reserves nothing in USD because its price is unknown: %s.", model, reason
    )
