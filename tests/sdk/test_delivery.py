"""What stands between a provider and its exporters."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from otel_budget.sdk.delivery import Delivery


@pytest.mark.timeout(20)
def test_a_signal_handler_may_end_a_span_while_one_is_counted() -> None:
    """Counting happens on the path of whoever ends a span, which a handler may interrupt."""
    delivery = Delivery(object)
    inside = False

    def handler(frame: Any, event: str, argument: Any) -> Any:
        nonlocal inside
        if frame.f_code is not Delivery.offer.__code__ or inside:
            return handler
        if event == "line":
            inside = True
            delivery.offer()
            inside = False
        return handler

    sys.settrace(handler)
    try:
        delivery.offer()
    finally:
        sys.settrace(None)
    assert delivery.offered > 2
