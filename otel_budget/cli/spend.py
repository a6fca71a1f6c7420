"""``otel-budget spend``: who spent what, as CSV, from any Prometheus that has the metrics."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from otel_budget import promql, semconv
from otel_budget.cli import local_stack
from otel_budget.cli.terminal import CommandError, complain
from otel_budget.cli.verify import LOCAL, check_url
from otel_budget.metric import Metric, prometheus_label
from otel_budget.verify import expected, http

#: Seconds; Prometheus itself gives up after two minutes.
_TIMEOUT: Final = 130.0


class By(StrEnum):
    """By what spend is told apart."""

    TENANT = "tenant"
    USER = "user"
    AGENT = "agent"
    MODEL = "model"


#: The column of each attribute: FOCUS has one for the provider; its own begin with ``x_``.
_COLUMNS: Final[Mapping[By, Mapping[str, str]]] = {
    By.TENANT: {"x_Tenant": semconv.TENANT},
    By.USER: {"x_User": semconv.PRINCIPAL},
    By.AGENT: {"x_Agent": semconv.AGENT},
    By.MODEL: {"ProviderName": semconv.METRIC_PROVIDER, "x_Model": semconv.METRIC_MODEL},
}
#: What is counted, by the column that it fills. Not BilledCost: nobody has seen an invoice.
_COUNTED: Final = {
    "EffectiveCost": semconv.METRIC_COST,
    "ConsumedQuantity": semconv.METRIC_TOKENS,
    "x_Calls": semconv.METRIC_CALLS,
    "x_UnpricedCalls": semconv.METRIC_UNPRICED_CALLS,
    "x_UncountedCalls": semconv.METRIC_CALLS_WITHOUT_USAGE,
}
_SECONDS: Final = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}

Key = tuple[str, ...]


def query(metric: Metric, attributes: Sequence[str], seconds: int) -> str:
    """What a metric counted by attributes in the last `seconds`, as the dashboards ask it."""
    counted = promql.total(f"{metric.prometheus_name()}{{{expected.OTHER_TENANTS}}}", f"{seconds}s")
    return f"sum by ({', '.join(map(prometheus_label, attributes))}) ({counted})"


def spend(
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="2026-11-01 or 2026-11-01T08:00 (UTC).")
    ],
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Exclusive; now, if left out.")
    ] = None,
    by: Annotated[
        list[By] | None,
        typer.Option(metavar="tenant|user|agent|model", help="May be repeated."),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Base URL, with user:password@ where it wants a login."),
    ] = None,
) -> None:
    """Print who spent what as CSV, in the columns of the FOCUS specification where they fit.

    A row for each tenant (or whatever --by names) that was active between
    --from and --to. What is not known is empty: the cost of calls that have no
    price is nowhere in EffectiveCost, and x_UnpricedCalls counts these calls;
    x_UncountedCalls are those that a gate saw end without usage.

    Example: otel-budget spend --from 2026-11-01 --to 2026-12-01 --by tenant --by model
    """
    now = datetime.now(UTC).replace(microsecond=0)
    first = _time("--from", begin)
    last = now if end is None else _time("--to", end)
    if last > now:
        raise CommandError(f"--to {end} is still to come; leave it out for now.")
    if first >= last:
        raise CommandError(f"--from {begin} is not before the end ({_written(last)}).")
    if prometheus is not None:
        check_url("prometheus", prometheus)
    url = (prometheus or (LOCAL | local_stack.addresses())["prometheus"]).rstrip("/")
    columns = {
        column: attribute
        for each in dict.fromkeys(by or [By.TENANT])
        for column, attribute in _COLUMNS[each].items()
    }
    attributes = list(columns.values())
    seconds = int((last - first).total_seconds())
    try:
        _check_kept(url, first)
        answers = {
            column: _answer(url, query(metric, attributes, seconds), last)
            for column, metric in _COUNTED.items()
        }
        counted = {column: _by_key(answer, attributes) for column, answer in answers.items()}
        warnings = {one for answer in answers.values() for one in answer.get("warnings", ())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(_refusal(url, error), code=1) from error
    period = {"ChargePeriodStart": _written(first), "ChargePeriodEnd": _written(last)}
    rows = [period | row for row in _rows(list(columns), counted)]
    fields = sorted(_names(columns), key=lambda name: name.startswith("x_"))
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    for warning in sorted(warnings):  # of a store behind it that did not answer, for one
        complain(f"the sums may be too low: {warning}.")
    for each in by or ():
        told = [column for column in _COLUMNS[each] if any(row[column] for row in rows)]
        if rows and not told:
            complain(f"the metrics tell no {each}; name its label in metric_labels.")
    if not rows:
        complain(f"no call is recorded from {_written(first)} to {_written(last)}.")


def _names(columns: Mapping[str, str]) -> list[str]:
    fixed = ["ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "ServiceCategory"]
    return [*fixed, "BillingCurrency", "ConsumedUnit", *columns, *_COUNTED]


def _rows(columns: list[str], counted: Mapping[str, Mapping[Key, float]]) -> list[dict[str, str]]:
    """A row for each key that counted anything, the dearest first."""
    keys = {key for values in counted.values() for key, value in values.items() if value > 0}
    rows = []
    for key in sorted(keys, key=lambda key: (-counted["EffectiveCost"].get(key, 0.0), key)):
        row = {
            "ChargeCategory": "Usage",
            "ServiceCategory": "AI and Machine Learning",
            "BillingCurrency": "USD",
            **dict(zip(columns, key, strict=True)),
        }
        for column, values in counted.items():
            row[column] = _number(values[key]) if key in values else ""
        # Where calls are counted, no call without a price means that there was none.
        if row["x_Calls"] and not row["x_UnpricedCalls"]:
            row["x_UnpricedCalls"] = "0"
        row["ConsumedUnit"] = "Tokens" if row["ConsumedQuantity"] else ""
        rows.append(row)
    return rows


def _answer(url: str, asked: str, at: datetime) -> dict[str, Any]:
    parameters = {"query": asked, "time": str(int(at.timestamp()))}
    answer: dict[str, Any] = http.get_json(f"{url}/api/v1/query", parameters, timeout=_TIMEOUT)
    return answer


def _by_key(answer: Mapping[str, Any], attributes: Sequence[str]) -> dict[Key, float]:
    labels = [prometheus_label(attribute) for attribute in attributes]
    return {
        tuple(row["metric"].get(label, "") for label in labels): float(row["value"][1])
        for row in answer["data"]["result"]
    }


def _check_kept(url: str, first: datetime) -> None:
    """Refuse a time of which Prometheus no longer knows all that it takes."""
    try:
        told = http.get_json(f"{url}/api/v1/status/runtimeinfo")["data"]["storageRetention"]
    except (http.ErrorStatus, ValueError, KeyError, TypeError):  # other backends do not say
        return
    kept = _seconds(str(told).partition(" or ")[0])  # "30d or 512MB"
    # What a process had counted before is told by its last sample before the time asked for.
    if kept and first.timestamp() - _seconds(promql.MEMORY) < time.time() - kept:
        raise CommandError(
            f"Prometheus keeps {told}, and a day before {_written(first)} is not in it, so what "
            "was spent since cannot be told exactly; ask for less, or start it with a longer "
            "--storage.tsdb.retention.time from now on.",
            code=1,
        )


def _seconds(duration: str) -> int:
    parts = re.findall(r"(\d+)([ywdhms])", duration)
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _time(option: str, text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{option} {text} is not a time such as 2026-11-01.") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: float) -> str:
    """A number as FOCUS wants it, without the noise of sums of binary fractions."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _refusal(url: str, error: Exception) -> str:
    if isinstance(error, http.ErrorStatus) and error.answer.status in (400, 422, 503):
        try:
            reason = json.loads(error.answer.body)["error"]
        except (ValueError, KeyError, TypeError):
            reason = str(error)
        return f"Prometheus cannot answer ({reason}); ask for a shorter time."
    problem = http.unreachable("Prometheus", "--prometheus", url, error)
    return f"{problem.detail}: {problem.cause}; {problem.remedy}."
