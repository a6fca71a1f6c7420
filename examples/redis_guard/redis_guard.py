"""A budget that many processes share: daily caps per tenant, counted in Redis.

Copy this file and `budget.lua`; the README.md here states what they promise. A check reserves what
the call may cost, the record settles it at what it did cost, and both are one atomic script.
`RedisGuard` is synchronous (for a3s-code's SDK and thread pools), `AsyncRedisGuard` is for an event
loop; they share their counts, and their code up to the `await`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from otel_budget import (
    Allow,
    BudgetDecision,
    BudgetGuard,
    BudgetLevel,
    Deny,
    PriceSource,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.guards import (
    GUARD_UNAVAILABLE,
    Price,
    SessionInfoSource,
    call_cost,
    measure,
    price,
    resolve,
)

NANO = 10**9
DAY = 86_400.0
#: A tenant's level is reported by the processes that served it within this many seconds.
RECENT = 300.0
_SCRIPT = Path(__file__).with_name("budget.lua").read_text(encoding="utf-8")
_NO_CAP = -1
#: A script that ran but whose reply was lost must not run again: it would count twice.
_ONCE = (NoBackoff(), 0)


class Counts(NamedTuple):
    """One tenant's day, as the script answered: nano-USD, tokens, milliseconds."""

    refused: str
    usd: int
    reserved_usd: int
    tokens: int
    reserved_tokens: int
    ms_to_midnight: int


class Budget(NamedTuple):
    """One cap and what counts towards it, in whole numbers of 1 / `scale` of `unit`."""

    resource: str
    unit: str
    scale: int
    used: int
    reserved: int
    cap: int

    def in_words(self, info: SessionInfo) -> str:
        spender = f"Tenant {info.tenant}" if info.tenant is not None else "Calls without a tenant"
        used, reserved, cap = (n / self.scale for n in (self.used, self.reserved, self.cap))
        return (
            f"{spender} used {used:,.6g} and reserved {reserved:,.6g} of {cap:,.6g} {self.unit} "
            "today (UTC)"
        )


class _Shared:
    """Everything of the guard except its requests to Redis.

    Args:
        url: URL of Redis, e.g. ``redis://127.0.0.1:6379/0``.
        session_info: Tenant, model and provider; pass the same to `instrument`.
        prices: What calls cost; pass the same to `instrument`. Needed with a cap in USD.
        usd_per_day: Each tenant's cap per UTC day, in USD; None for no such cap.
        tokens_per_day: The same in tokens of all kinds.
        soft_ratio: Share of a cap from which on calls proceed with a `SoftLimit`.
        output_tokens: Tokens reserved for an answer: your calls' ``max_tokens``. What a call uses
            beyond its reservation is the only way over a cap.
        reservation_seconds: Seconds until a reservation that is never settled expires. It must
            exceed your longest call; the shorter, the sooner failed calls free what they reserved.
        when_down: If Redis is unreachable, ``closed`` raises (runtimes refuse the call), ``open``
            lets calls proceed with a `SoftLimit` on ``guard_unavailable``.
        timeout: Seconds to wait for Redis, for each connect, send and reply.
        prefix: Prefix of every key.
        clock: Seconds since the epoch, for tests; None is Redis' own clock.
    """

    def __init__(
        self,
        url: str,
        *,
        session_info: SessionInfoSource = None,
        prices: PriceSource | None = None,
        usd_per_day: float | None = None,
        tokens_per_day: int | None = None,
        soft_ratio: float = 0.8,
        output_tokens: int = 1024,
        reservation_seconds: float = 300.0,
        when_down: Literal["closed", "open"] = "closed",
        timeout: float = 0.5,
        prefix: str = "budget",
        clock: Callable[[], float] | None = None,
    ) -> None:
        if usd_per_day is None and tokens_per_day is None:
            raise ValueError("pass usd_per_day, tokens_per_day or both")
        if usd_per_day is not None and prices is None:
            raise ValueError("a cap in USD needs prices, e.g. GenAIPrices() or FlatRates(3, 15)")
        if when_down not in ("closed", "open"):
            raise ValueError(f"when_down must be 'closed' or 'open', not {when_down!r}")
        for name, value, least, most in (
            ("usd_per_day", usd_per_day or 0.0, 0, 9e6),  # beyond it Lua's numbers are not exact
            ("tokens_per_day", tokens_per_day or 0, 0, 2**53),
            ("soft_ratio", soft_ratio, 0, 1),
            ("output_tokens", output_tokens, 0, 2**31),
            ("reservation_seconds", reservation_seconds, 0.001, DAY),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least:,} to {most:,.0f}, not {value}")
        self.caps = {
            "usd": _NO_CAP if usd_per_day is None else round(usd_per_day * NANO),
            "tokens": _NO_CAP if tokens_per_day is None else tokens_per_day,
        }
        self.session_info, self.prices, self.soft_ratio = session_info, prices, soft_ratio
        self.output_tokens, self.reservation_seconds = output_tokens, reservation_seconds
        self.when_down, self.prefix, self.clock = when_down, prefix, clock
        self._latest: dict[str | None, tuple[float, Counts]] = {}
        self._redis = self._connect(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._script: Any = self._redis.register_script(_SCRIPT)

    def _connect(self, url: str, **options: Any) -> Any:
        raise NotImplementedError

    # -- requests to Redis, and replies ----------------------------------------------------
    def _step(
        self, step: str, session_id: str, usage: TokenUsage | dict[str, Any], info: SessionInfo
    ) -> dict[str, Any]:
        tokens = measure(usage, info.provider)
        if tokens.malformed:
            raise ValueError(f"a usage that cannot be read: {usage!r}")
        cost = Price(0.0)
        if self.caps["usd"] != _NO_CAP:
            reported = call_cost() if step == "settle" else None
            cost = price(tokens, self.prices, info.model, info.provider, reported)
        # The words keep tenants apart, and "no tenant" from any name; because of the braces, Redis
        # Cluster keeps a tenant's keys together.
        owner = "no tenant" if info.tenant is None else f"tenant {info.tenant}"
        base = f"{self.prefix}:{{{owner}}}"
        return {
            "unpriced": cost.reason if cost.usd is None else "",
            "keys": [f"{base}:counts", f"{base}:open", f"{base}:open:{session_id}"],
            "args": [
                step,
                math.ceil(round((cost.usd or 0.0) * NANO, 3)),
                tokens.tokens,
                self.caps["usd"],
                self.caps["tokens"],
                round(self.reservation_seconds * 1000),
                "" if self.clock is None else round(self.clock() * 1000),
            ],
        }

    def _remember(self, reply: Sequence[Any], info: SessionInfo) -> Counts:
        refused = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
        counts = Counts(refused, *reply[1:])
        if info.tenant not in self._latest and len(self._latest) >= 10_000:
            self._latest.pop(next(iter(self._latest)), None)
        self._latest[info.tenant] = (time.monotonic(), counts)
        return counts

    def _estimate(self, prompt_tokens: int) -> TokenUsage:
        return TokenUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=self.output_tokens,
            total_tokens=prompt_tokens + self.output_tokens,
        )

    # -- answers ---------------------------------------------------------------------------
    def _decide(self, counts: Counts, info: SessionInfo, step: dict[str, Any]) -> BudgetDecision:
        budgets = self._budgets(counts)
        if counts.refused:
            spent = budgets[counts.refused]
            _, nano_usd, tokens, *_ = step["args"]
            need = nano_usd if counts.refused == "usd" else tokens
            return Deny(
                resource=spent.resource,
                reason=f"{spent.in_words(info)}; this call needs {need / spent.scale:,.6g}.",
            )
        fullest = max(
            budgets.values(), key=lambda budget: (budget.used + budget.reserved) / budget.cap
        )
        soft = self.soft_ratio * fullest.cap
        if fullest.used + fullest.reserved < soft:
            return Allow()
        return SoftLimit(
            resource=fullest.resource,
            consumed=(fullest.used + fullest.reserved) / fullest.scale,
            limit=soft / fullest.scale,
            message=f"{fullest.in_words(info)}.",
        )

    def _budgets(self, counts: Counts) -> dict[str, Budget]:
        usd = Budget("llm_cost_usd", "USD", NANO, counts.usd, counts.reserved_usd, self.caps["usd"])
        tokens = Budget(
            "llm_tokens", "tokens", 1, counts.tokens, counts.reserved_tokens, self.caps["tokens"]
        )
        both = {"usd": usd, "tokens": tokens}
        return {unit: budget for unit, budget in both.items() if budget.cap != _NO_CAP}

    def _unpriced(self, info: SessionInfo, why: str) -> Deny:
        return Deny(
            resource="llm_cost_usd",
            reason=f"A call of model {info.model!r} cannot be priced ({why}), so its cap in USD "
            "cannot hold; name model and provider, or use prices that include them.",
        )

    def _down(self, error: redis.RedisError) -> SoftLimit:
        if self.when_down == "closed":
            raise error
        return SoftLimit(
            resource=GUARD_UNAVAILABLE,
            consumed=0.0,
            limit=0.0,
            message=f"The budget's Redis did not answer ({type(error).__name__}): not enforced.",
        )

    def budget_levels(self) -> list[BudgetLevel]:
        """Each recently served tenant's use, without reservations, from Redis' last reply."""
        now, levels = time.monotonic(), []
        for tenant, (received, counts) in self._latest.copy().items():
            age = now - received
            remaining = counts.ms_to_midnight / 1000 - age
            if age > RECENT or remaining <= 0:  # yesterday's number would be wrong
                self._latest.pop(tenant, None)
                continue
            levels += [
                BudgetLevel(
                    resource=budget.resource,
                    consumed=budget.used / budget.scale,
                    limit=budget.cap / budget.scale,
                    unit=budget.unit,
                    window="day",
                    window_length=DAY,
                    window_remaining=remaining,
                    tenant=tenant,
                )
                for budget in self._budgets(counts).values()
            ]
        return levels


class RedisGuard(_Shared, SyncBudgetGuard):
    __doc__ = f"The synchronous guard. {_Shared.__doc__}"

    def _connect(self, url: str, **options: Any) -> Any:
        return redis.Redis.from_url(url, retry=Retry(*_ONCE), **options)

    def close(self) -> None:
        self._redis.close()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        info = resolve(self.session_info, session_id)
        step = self._step("reserve", session_id, self._estimate(estimated_prompt_tokens), info)
        if unpriced := step.pop("unpriced"):
            return self._unpriced(info, unpriced)
        try:
            reply = self._script(**step)
        except redis.RedisError as error:
            return self._down(error)
        return self._decide(self._remember(reply, info), info, step)

    def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        info = resolve(self.session_info, session_id)
        step = self._step("settle", session_id, usage, info)
        unpriced = step.pop("unpriced")
        self._remember(self._script(**step), info)
        if unpriced:
            raise LookupError(self._unpriced(info, unpriced).reason)


class AsyncRedisGuard(_Shared, BudgetGuard):
    __doc__ = f"The async guard. {_Shared.__doc__}"

    def _connect(self, url: str, **options: Any) -> Any:
        return redis.asyncio.Redis.from_url(url, retry=AsyncRetry(*_ONCE), **options)

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        info = resolve(self.session_info, session_id)
        step = self._step("reserve", session_id, self._estimate(estimated_prompt_tokens), info)
        if unpriced := step.pop("unpriced"):
            return self._unpriced(info, unpriced)
        try:
            reply = await self._script(**step)
        except redis.RedisError as error:
            return self._down(error)
        return self._decide(self._remember(reply, info), info, step)

    async def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        info = resolve(self.session_info, session_id)
        step = self._step("settle", session_id, usage, info)
        unpriced = step.pop("unpriced")
        self._remember(await self._script(**step), info)
        if unpriced:
            raise LookupError(self._unpriced(info, unpriced).reason)
