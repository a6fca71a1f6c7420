"""Six hours of a made-up company's agents, sent to a Collector with timestamps of the past.

For the pictures and the browser check, which need a history that nobody waits for. Names, units
and attributes come from `semconv.py`; what the numbers of the adapter are is proven elsewhere.
"""

from __future__ import annotations

import itertools
import json
import random
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from dashboards.builder.rules import alert_model, fleet_records, forecast_records
from otel_budget import semconv as sc
from otel_budget.metric import Metric

HOURS = 6
MINUTE = 60
#: tenant, agent, model, provider, calls a minute, prompt and completion tokens, cached share
WORK = (
    ("acme", "researcher", "claude-sonnet-4-5", "anthropic", 4.0, 9000, 900, 0.6),
    ("acme", "coder", "claude-sonnet-4-5", "anthropic", 2.0, 14000, 1200, 0.7),
    ("globex", "support", "gpt-4o-mini", "openai", 9.0, 3000, 300, 0.2),
    ("globex", "coder", "claude-sonnet-4-5", "anthropic", 1.0, 12000, 1000, 0.5),
    ("initech", "reports", "gpt-4o", "openai", 1.5, 6000, 800, 0.1),
    ("initech", "local", "llama-local", "ollama", 0.4, 2500, 400, 0.0),
)
#: Whom an agent works for, where it tells.
USERS = {"support": "kim+eu@globex.example", "reports": "lee@initech.example"}
#: USD per million prompt, cached and completion tokens; the one that is missing has no price.
PRICES = {
    "claude-sonnet-4-5": (3.0, 0.3, 15.0),
    "gpt-4o-mini": (0.15, 0.075, 0.6),
    "gpt-4o": (2.5, 1.25, 10.0),
}
DAILY, MONTHLY = {"acme": 19.0, "globex": 15.0, "initech": 20.0}, {"acme": 600.0, "globex": 300.0}
_LENGTHS = {"day": 86400.0, "month": 30 * 86400.0}


#: How the records (`fleet_records`) name the metrics that they are of.
_RECORDS = {
    metric.name: fleet_records.total(metric, fleet_records.WINDOWS[0])
    for metric in fleet_records.COUNTED
}
#: Levels, and what the rules call them.
_LEVELS = {
    sc.METRIC_UTILIZATION: alert_model.UTILIZATION,
    sc.METRIC_CONSUMED: alert_model.CONSUMED,
    sc.METRIC_LIMIT: alert_model.LIMIT,
    sc.METRIC_WINDOW_LENGTH: alert_model.WINDOW_LENGTH,
    sc.METRIC_WINDOW_REMAINING: alert_model.WINDOW_REMAINING,
}
_DURATION = sc.METRIC_GUARD_DURATION
_Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class _World:
    """Counters, gauges and one histogram, as of one minute."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.counters: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self.gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.buckets: dict[tuple[tuple[str, str], ...], list[int]] = {}
        self.sums: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
        self.spent: dict[str, float] = defaultdict(float)
        self.recorded: _Series = {}
        self.told: set[tuple[str, tuple[tuple[str, str], ...]]] = set()

    def records(self, now: float, *, levels: bool) -> _Series:
        """What was counted since the last call, and levels, as the rules record them: they see no
        past.
        """
        return self._counted() | (self._levels(now) if levels else {})

    def ended(self, now: float) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        """The records of levels that are there no more, as of this call."""
        told = set(self._levels(now))
        gone, self.told = self.told - told, told
        return sorted(gone)

    def _levels(self, now: float) -> _Series:
        by_budget: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
        for (name, pairs), value in self.gauges.items():
            by_budget[pairs][name] = value
        found: _Series = {}
        for pairs, told in by_budget.items():
            found |= {
                (record, pairs): told[metric.name]
                for metric, record in _LEVELS.items()
                if metric.name in told
            }
            if sc.METRIC_CONSUMED.name not in told:
                continue
            left = told[sc.METRIC_WINDOW_REMAINING.name]
            found[alert_model.WINDOW_END_HELD, pairs] = now + left
            share = told[sc.METRIC_UTILIZATION.name]
            passed = told[sc.METRIC_WINDOW_LENGTH.name] - left
            lasts = share == 0 or passed * (1 - share) / share >= left
            state = forecast_records.LASTS if lasts else forecast_records.RUNS_OUT
            state = forecast_records.EXHAUSTED if share >= 1 else state
            found[alert_model.FORECAST, (*pairs, (forecast_records.STATE, state))] = 1.0
        return found

    def _counted(self) -> _Series:
        now: _Series = {
            (_RECORDS[name], pairs): value
            for (name, pairs), value in self.counters.items()
            if name in _RECORDS
        }
        bounds = [*map(str, sc.GUARD_DURATION_BUCKETS), "+Inf"]
        for pairs, counts in self.buckets.items():
            for bound, count in zip(bounds, itertools.accumulate(counts), strict=True):
                name = fleet_records.bucket_total(_DURATION, fleet_records.WINDOWS[0])
                now[name, (*pairs, ("le", bound))] = count
        before, self.recorded = self.recorded, now
        cost = sc.METRIC_COST
        day = {
            (record, pairs): value
            for (name, pairs), value in self.counters.items()
            if name == cost.name
            for record in (
                fleet_records.total(cost, fleet_records.COMPARED),
                fleet_records.recorded(cost),
            )
        }
        return {key: value - before.get(key, 0.0) for key, value in now.items()} | day

    def add(self, metric: Metric, amount: float, **attributes: str) -> None:
        self.counters[metric.name, _pairs(attributes)] += amount

    def took(self, seconds: float, **attributes: str) -> None:
        key = _pairs(attributes)
        counts = self.buckets.setdefault(key, [0] * (len(sc.GUARD_DURATION_BUCKETS) + 1))
        counts[sum(seconds > bound for bound in sc.GUARD_DURATION_BUCKETS)] += 1
        self.sums[key] += seconds

    def minute(self, number: int) -> None:
        """What happens in one minute; the load swells towards the end of the working day."""
        load = 0.5 + number / (HOURS * MINUTE)
        for work in WORK:
            for _ in range(self._times(work[4] * load)):
                self.call(work)
        if number % 45 == 20:
            self.tool("globex", "coder", "shell", denied=True)
        for _ in range(self._times(3 * load)):
            self.tool("acme", "researcher", "search", denied=False)
        if 150 <= number < 156:  # the guard's store fails over
            for _ in range(2):
                self.decide(sc.ERROR, "initech", "reports", 0.9)
                self.add(
                    sc.METRIC_GUARD_ERRORS, 1, decision_point=sc.POINT_LLM,
                    error_type="ConnectionError", guard_name="redis",
                )  # fmt: skip
        if number == HOURS * MINUTE - 20:
            self.decide(sc.MALFORMED, "globex", "support", 0.01)
        if number == 153:
            self.decide(sc.LATE, "acme", "coder", 6.0)
        self.levels(number)

    def _times(self, mean: float) -> int:
        return int(mean) + (self.random.random() < mean % 1)

    def decide(
        self, outcome: str, tenant: str, agent: str, seconds: float, point: str = sc.POINT_LLM
    ) -> None:
        self.add(
            sc.METRIC_DECISIONS, 1, decision_point=point, decision=outcome,
            tenant=tenant, agent=agent,
        )  # fmt: skip
        self.took(seconds, decision_point=point, decision=outcome, guard_name="redis")

    def hit(self, kind: str, resource: str, tenant: str, agent: str, **more: str) -> None:
        point = sc.POINT_TOOL if "tool_name" in more else sc.POINT_LLM
        self.add(
            sc.METRIC_THRESHOLD_HITS, 1, decision_point=point, kind=kind, resource=resource,
            tenant=tenant, agent=agent, **more,
        )  # fmt: skip

    def tool(self, tenant: str, agent: str, name: str, *, denied: bool) -> None:
        outcome = sc.DENY if denied else sc.ALLOW
        self.decide(outcome, tenant, agent, self.random.lognormvariate(-6.5, 0.5), sc.POINT_TOOL)
        if denied:
            self.hit(sc.KIND_HARD, "tools", tenant, agent, tool_name=name, cause=sc.CAUSE_POLICY)

    def call(self, work: tuple[str, str, str, str, float, int, int, float]) -> None:
        tenant, agent, model, provider, _, prompt, completion, cached = work
        seconds = self.random.lognormvariate(-6.0, 0.7)
        used = self.spent[tenant] / DAILY[tenant]
        if used >= 1:
            self.decide(sc.DENY, tenant, agent, seconds)
            self.hit(
                sc.KIND_HARD, "llm_cost_usd", tenant, agent, window="day", cause=sc.CAUSE_SPENT
            )
            return
        self.decide(sc.SOFT_LIMIT if used >= 0.8 else sc.ALLOW, tenant, agent, seconds)
        if used >= 0.8:
            self.hit(sc.KIND_SOFT, "llm_cost_usd", tenant, agent, window="day")
        who = {"tenant": tenant, "agent": agent, "model": model, "provider": provider}
        if agent in USERS:
            who["principal"] = USERS[agent]
        prompt = int(prompt * self.random.uniform(0.6, 1.4))
        completion = int(completion * self.random.uniform(0.5, 1.5))
        read = int(prompt * cached)
        self.add(sc.METRIC_ESTIMATED_TOKENS, prompt * self.random.uniform(0.8, 1.1), **who)
        self.add(sc.METRIC_CALLS, 1, **who)
        for kind, count in (
            (sc.TOKENS_INPUT, prompt - read),
            (sc.TOKENS_CACHE_READ, read * 0.9),
            (sc.TOKENS_CACHE_WRITE, read * 0.1),
            (sc.TOKENS_OUTPUT, completion),
        ):
            self.add(sc.METRIC_TOKENS, count, token_type=kind, **who)
        if model not in PRICES:
            self.add(sc.METRIC_UNPRICED_CALLS, 1, reason=sc.UNKNOWN_MODEL, **who)
            return
        fresh, again, written = PRICES[model]
        cost = ((prompt - read) * fresh + read * again + completion * written) / 1e6
        self.add(sc.METRIC_COST, cost, **who)
        self.spent[tenant] += cost

    def levels(self, number: int) -> None:
        for window, caps in (("day", DAILY), ("month", MONTHLY)):
            for tenant, cap in caps.items():
                before = 0.0 if window == "day" else 0.4 * cap
                used = before + self.spent[tenant]
                attributes = {
                    "tenant": tenant, "guard_name": "redis", "resource": "llm_cost_usd",
                    "window": window, "unit": "USD", "source": sc.SOURCE_GUARD,
                }  # fmt: skip
                elapsed = (9 * 3600 if window == "day" else 13 * 86400) + number * MINUTE
                length = _LENGTHS[window]
                for metric, value in (
                    (sc.METRIC_CONSUMED, used),
                    (sc.METRIC_LIMIT, cap),
                    (sc.METRIC_UTILIZATION, used / cap),
                    (sc.METRIC_WINDOW_LENGTH, length),
                    (sc.METRIC_WINDOW_REMAINING, length - elapsed),
                    (sc.METRIC_RESERVED, cap / 100),
                    (sc.METRIC_RESERVATION_AGE, 4.0),
                    (sc.METRIC_UNCOUNTED_CALLS, 0.0),
                ):
                    self.gauges[metric.name, _pairs(attributes)] = value
        soft = {
            "tenant": "globex", "agent": "support", "guard_name": "quota",
            "resource": "llm_tokens", "source": sc.SOURCE_SOFT_LIMIT,
        }  # fmt: skip
        self.gauges[sc.METRIC_UTILIZATION.name, _pairs(soft)] = 1.04


_ATTRIBUTES = {
    "agent": sc.AGENT, "cause": sc.CAUSE, "decision": sc.DECISION,
    "decision_point": sc.DECISION_POINT, "principal": sc.PRINCIPAL,
    "error_type": sc.ERROR_TYPE, "guard_name": sc.GUARD_NAME, "kind": sc.KIND,
    "model": sc.METRIC_MODEL, "provider": sc.METRIC_PROVIDER, "reason": sc.REASON,
    "resource": sc.RESOURCE, "source": sc.SOURCE, "tenant": sc.TENANT,
    "token_type": sc.TOKEN_TYPE, "tool_name": sc.TOOL_NAME, "unit": sc.UNIT, "window": sc.WINDOW,
}  # fmt: skip
_METRICS = {metric.name: metric for metric in sc.METRICS}


def _pairs(attributes: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((_ATTRIBUTES[name], value) for name, value in attributes.items()))


def _attributes(pairs: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs]


def _payload(world: _World, start: float, now: float, *, levels: bool) -> dict[str, Any]:
    times = {"timeUnixNano": str(int(now * 1e9))}
    since = {"startTimeUnixNano": str(int(start * 1e9))}
    points: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (name, pairs), value in [*world.counters.items(), *world.gauges.items()]:
        points[name].append({"attributes": _attributes(pairs), "asDouble": value, **times, **since})
    metrics: list[dict[str, Any]] = []
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (name, pairs), value in world.records(now, levels=levels).items():
        records[name].append({"attributes": _attributes(pairs), "asDouble": value, **times})
    for name, pairs in world.ended(now):
        # "No recorded value": as the rules end a series, at once.
        records[name].append({"attributes": _attributes(pairs), "flags": 1, **times})
    metrics += [{"name": name, "gauge": {"dataPoints": found}} for name, found in records.items()]
    for name, found in points.items():
        metric = _METRICS[name]
        body: dict[str, Any] = {"name": name, "unit": metric.unit}
        if metric.kind == "gauge":
            body["gauge"] = {"dataPoints": found}
        else:
            body["sum"] = {"dataPoints": found, "aggregationTemporality": 2, "isMonotonic": True}
        metrics.append(body)
    histogram = [
        {
            "attributes": _attributes(pairs),
            "count": str(sum(counts)),
            "sum": world.sums[pairs],
            "bucketCounts": [str(count) for count in counts],
            "explicitBounds": list(sc.GUARD_DURATION_BUCKETS),
            **times,
            **since,
        }
        for pairs, counts in world.buckets.items()
    ]
    duration = sc.METRIC_GUARD_DURATION
    metrics.append(
        {
            "name": duration.name,
            "unit": duration.unit,
            "histogram": {"dataPoints": histogram, "aggregationTemporality": 2},
        }
    )
    resource = {
        "service.name": "agents",
        "deployment.environment.name": "production",
        "service.instance.id": "history",
    }
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": _attributes(resource.items())},
                "scopeMetrics": [{"scope": {"name": sc.SCOPE_NAME}, "metrics": metrics}],
            }
        ]
    }


def payloads(end: float) -> Iterator[dict[str, Any]]:
    """One OTLP/JSON request a minute, the last at `end` (Unix time)."""
    world, minutes = _World(), HOURS * MINUTE
    start = end - minutes * MINUTE
    for number in range(minutes + 1):
        world.minute(number)
        # From then on the rules record the levels themselves: two would be one too many.
        levels = number < minutes - 5
        yield _payload(world, start, start + number * MINUTE, levels=levels)


def send(otlp_http: str) -> None:
    """Send the six hours up to now to a Collector's OTLP/HTTP endpoint."""
    for payload in payloads(time.time()):
        request = urllib.request.Request(
            f"{otlp_http}/v1/metrics",
            json.dumps(payload).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()
