"""What a replay counted: in total, and by whatever the user asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from operator import attrgetter
from typing import Final

from otel_budget import semconv
from otel_budget.cli.play import Answer
from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.contract import Deny, SoftLimit
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.prices import PriceSource

#: By what calls can be told apart.
DIMENSIONS: Final = ("tenant", "user", "agent", "model", "session", "day", "hour")
#: Models that are named where they have no price.
_MODELS: Final = 1_000

Key = tuple[str | None, ...]


@dataclass(slots=True)
class Group:
    """Calls that have something in common.

    Attributes:
        calls: Calls that were made and recorded.
        refused: Calls that were refused.
        soft: Calls that were warned and made.
        tokens: Of the recorded calls.
        cost: Of those that have a price, in USD.
        unpriced: Recorded calls without a price.
    """

    calls: int = 0
    refused: int = 0
    soft: int = 0
    tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0

    @property
    def cost_usd(self) -> float | None:
        """The cost, as far as it is known; None if nothing of it is."""
        return None if self.unpriced and self.unpriced == self.calls else self.cost


@dataclass(slots=True)
class Compared:
    """The log's own cost beside ours, of the calls that have both, in USD."""

    calls: int = 0
    log: float = 0.0
    ours: float = 0.0


@dataclass
class Ledger:
    """What became of the calls.

    Args:
        by: What to tell calls apart by: each a combination of `DIMENSIONS`.
        prices: What calls cost.
        zone: Of days and hours.
        log_cost: Whether calls cost what the log says, where it says it.
    """

    by: Sequence[tuple[str, ...]]
    prices: PriceSource | None
    zone: tzinfo
    log_cost: bool = False
    whole: Group = field(default_factory=Group)
    groups: dict[tuple[str, ...], dict[Key, Group]] = field(init=False)
    tokens: dict[str, int] = field(init=False)
    refused_tokens: dict[str, int] = field(init=False)
    tool_calls: int = 0
    tool_denials: int = 0
    refused_by: Counter[str] = field(default_factory=Counter)
    soft_by: Counter[str] = field(default_factory=Counter)
    guard_errors: Counter[str] = field(default_factory=Counter)
    unpriced: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    compared: Compared = field(default_factory=Compared)
    first_refusals: dict[str | None, LoggedCall] = field(default_factory=dict)
    checked_rows: int = 0

    def __post_init__(self) -> None:
        """Make the groups."""
        self.groups = {combination: {} for combination in self.by}
        self.tokens = dict.fromkeys(semconv.TOKEN_TYPES, 0)
        self.refused_tokens = {"input": 0, "output": 0}
        self._hour: tuple[float, tuple[str, str]] = (-1.0, ("", ""))
        self._keys: list[tuple[dict[Key, Group], Callable[[LoggedCall], Key]]] = [
            (groups, self._key_of(combination)) for combination, groups in self.groups.items()
        ]

    def __call__(self, call: LoggedCall, answer: Answer, is_tool: bool) -> None:
        """Count one check."""
        if answer.error:
            self.guard_errors[answer.error] += 1
        if is_tool:
            self.tool_calls += 1
            self.tool_denials += not answer.proceeds
            return
        self.checked_rows += 1
        usage = call.usage
        assert usage is not None
        measured = measure(usage, call.provider)
        groups = [self.whole]
        for known, key_of in self._keys:
            key = key_of(call)
            group = known.get(key)
            if group is None:
                group = known[key] = Group()
            groups.append(group)
        if not answer.proceeds:
            for group in groups:
                group.refused += call.calls
            self.refused_tokens["input"] += sum(measured[:1]) + sum(measured[2:4])
            self.refused_tokens["output"] += measured.output_tokens
            self.first_refusals.setdefault(call.tenant, call)
            if isinstance(answer.decision, Deny):
                self.refused_by[answer.decision.resource] += call.calls
            return
        is_soft = isinstance(answer.decision, SoftLimit)
        if is_soft:
            self.soft_by[answer.decision.resource] += call.calls
        cost = self._price(call, measured)
        tokens = measured.tokens
        for group in groups:
            group.calls += call.calls
            group.tokens += tokens
            if is_soft:
                group.soft += call.calls
            if cost is None:
                group.unpriced += call.calls
            else:
                group.cost += cost
        for kind, number in zip(self.tokens, measured[:4], strict=True):
            self.tokens[kind] += number

    def _price(self, call: LoggedCall, measured: Measurement) -> float | None:
        ours = price_of(call, measured, self.prices, log_cost=self.log_cost)
        if ours.usd is None:
            model = call.model if len(self.unpriced) < _MODELS else "(others)"
            self.unpriced[ours.reason, model] += call.calls
        elif call.cost is not None:
            self.compared.calls += call.calls
            self.compared.log += call.cost
            self.compared.ours += ours.usd
        return ours.usd

    # -- keys --------------------------------------------------------------------------------
    def _key_of(self, combination: tuple[str, ...]) -> Callable[[LoggedCall], Key]:
        if combination == ("tenant",):
            return lambda call: (call.tenant,)
        parts = [self._part(name) for name in combination]
        return lambda call: tuple(part(call) for part in parts)

    def _part(self, name: str) -> Callable[[LoggedCall], str | None]:
        match name:
            case "day":
                return lambda call: self._times(call.at)[0]
            case "hour":
                return lambda call: self._times(call.at)[1]
            case _:
                return attrgetter(name)

    def _times(self, at: float | None) -> tuple[str | None, str | None]:
        """The day and the hour of a time."""
        if at is None:
            return None, None
        quarter = at // 900  # every time zone is a multiple of it away from UTC
        if quarter != self._hour[0]:
            moment = datetime.fromtimestamp(at, self.zone)
            self._hour = (quarter, (f"{moment:%Y-%m-%d}", f"{moment:%Y-%m-%d %H:00}"))
        return self._hour[1]


def price_of(
    call: LoggedCall, measured: Measurement, prices: PriceSource | None, *, log_cost: bool
) -> Price:
    """What a call costs."""
    try:
        return price(measured, prices, call.model, call.provider, call.cost if log_cost else None)
    except Exception:
        return Price(None, semconv.PRICE_ERROR)
