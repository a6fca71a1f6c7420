"""The table of the rule tests: when each rule fires, and when it must stay silent."""

from __future__ import annotations

from rule_cases.case import Case, Fired, Labels, RecordCase, prom
from rule_cases.fleet import FLEET_RECORDS
from rule_cases.guard import GUARD
from rule_cases.ledgers import LEDGER_RECORDS, LEDGERS
from rule_cases.limits import LIMITS, REFUSALS_HELD
from rule_cases.paces import PACE_RECORDS
from rule_cases.pipeline import PIPELINE
from rule_cases.records import RECORDS as LEVEL_RECORDS
from rule_cases.spend import SPEND
from rule_cases.telemetry import HEARD_RECORDS, TELEMETRY

CASES = (*LIMITS, *SPEND, *GUARD, *TELEMETRY, *PIPELINE, *LEDGERS)
RECORDS = (
    *LEVEL_RECORDS,
    *REFUSALS_HELD,
    *PACE_RECORDS,
    *LEDGER_RECORDS,
    *FLEET_RECORDS,
    *HEARD_RECORDS,
)

__all__ = ["CASES", "RECORDS", "Case", "Fired", "Labels", "RecordCase", "prom"]
