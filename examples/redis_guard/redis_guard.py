"""A budget that many processes share: daily caps per tenant, counted in Redis.

Copy this file and `budget.lua`; the README.md here states what they promise. A check reserves what
the call may cost, the record settles it at what it did cost, and each is one atomic script.
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
#: Tenants whose levels are asked for in one request, so that its reply comes within the timeout.
_AT_ONCE = 100
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
    oldest_ms: int  # the age of the oldest reservation; -1 if there is none


class Seen(NamedTuple):
    """What Redis last said of a tenant, and when this process last served it; by the same clock."""

    served: float
    received: float
    counts: Counts


class Budget(NamedTuple):
    """One cap and what counts towards it, in whole numbers of 1 / `scale` of `unit`."""

    resource: str
    unit: str
    scale: int
    used: int
    reserved: int
    cap: int

    def told(self, amount: int) -> float:
        """The amount in `unit`."""
        return amount / self.scale

    def in_words(self, info: SessionInfo) -> str:
        spender = f"Tenant {info.tenant}" if info.tenant is not None else "Calls without a tenant"
        used, reserved, cap = map(self.told, (self.used, self.reserved, self.cap))
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
        clock: Seconds since the epoch, for tests; None is Redis' own clock. It is sent with each
            request, so all processes of a test need the same one.
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
        self._now = clock or time.monotonic
        self._latest: dict[str | None, Seen] = {}
        self._connect(url, socket_timeout=timeout, socket_connect_timeout=timeout)

    def _connect(self, url: str, **options: Any) -> None:
        # The async guard, too: its levels are asked for by a thread without an event loop.
        self._redis = redis.Redis.from_url(url, retry=Retry(*_ONCE), **options)
        self._script: Any = self._redis.register_script(_SCRIPT)

    # -- requests to Redis, and replies ----------------------------------------------------
    def _step(
        self, step: str, session_id: str, usage: TokenUsage | dict[str, Any], info: SessionInfo
    ) -> dict[str, Any]:
        tokens = measure(usage, info.provider, upper_bound=True)
        if tokens.malformed:
            raise ValueError(f"a usage that cannot be read: {usage!r}")
        cost = Price(0.0)
        if self.caps["usd"] != _NO_CAP:
            reported = call_cost() if step == "settle" else None
            cost = price(tokens, self.prices, info.model, info.provider, reported)
        request = self._request(
            step,
            info.tenant,
            session_id,
            math.ceil(round((cost.usd or 0.0) * NANO, 3)),
            tokens.tokens,
        )
        return {"unpriced": cost.reason if cost.usd is None else "", **request}

    def _request(
        self, step: str, tenant: str | None, session_id: str, nano_usd: int = 0, tokens: int = 0
    ) -> dict[str, Any]:
        # The words keep tenants apart, and "no tenant" from any name; because of the braces, Redis
        # Cluster keeps a tenant's keys together.
        owner = "no tenant" if tenant is None else f"tenant {tenant}"
        base = f"{self.prefix}:{{{owner}}}"
        return {
            "keys": [
                f"{base}:counts",
                f"{base}:open",
                f"{base}:made",
                f"{base}:open:{session_id}",
            ],
            "args": [
                step,
                nano_usd,
                tokens,
                self.caps["usd"],
                self.caps["tokens"],
                round(self.reservation_seconds * 1000),
                "" if self.clock is None else round(self.clock() * 1000),
            ],
        }

    def _remember(self, reply: Sequence[Any], info: SessionInfo) -> Counts:
        counts = _counts(reply)
        if info.tenant not in self._latest and len(self._latest) >= 10_000:
            self._latest.pop(next(iter(self._latest)), None)
        now = self._now()
        self._latest[info.tenant] = Seen(now, now, counts)
        return counts

    def _estimate(self, prompt_tokens: int) -> TokenUsage:
        return TokenUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=self.output_tokens,
            total_tokens=prompt_tokens + self.output_tokens,
        )

    # -- answers ---------------------------------------------------------------------------
    def _decide(self, counts: Counts, info: SessionInfo, step: dict[str, Any]) -> BudgetDecision:
        budgets, resets_in = self._budgets(counts), counts.ms_to_midnight / 1000
        if counts.refused:
            full = budgets[counts.refused]
            _, nano_usd, tokens, *_ = step["args"]
            need = nano_usd if counts.refused == "usd" else tokens
            return Deny(
                resource=full.resource,
                reason=f"{full.in_words(info)}; this call needs {full.told(need):,.6g}.",
                consumed=full.told(full.used),
                limit=full.told(full.cap),
                reserved=full.told(full.reserved),
                window="day",
                resets_in=resets_in,
                cause="spent" if full.used >= full.cap else "reserved",
            )
        fullest = max(
            budgets.values(), key=lambda budget: (budget.used + budget.reserved) / budget.cap
        )
        soft = self.soft_ratio * fullest.cap
        if fullest.used + fullest.reserved < soft:
            return Allow()
        return SoftLimit(
            resource=fullest.resource,
            consumed=fullest.told(fullest.used),
            limit=soft / fullest.scale,
            message=f"{fullest.in_words(info)}.",
            reserved=fullest.told(fullest.reserved),
            window="day",
            resets_in=resets_in,
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
            limit=self.caps["usd"] / NANO,
            window="day",
            cause="unpriced",
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
        """Each recently served tenant's use, and what is reserved beside it.

        From Redis' last reply; where that told reservations, Redis is asked once more, which ends
        those that have expired. If it does not answer, what is reserved is not known.
        """
        latest, unknown = self._renewed(self._latest.copy())
        now, levels = self._now(), []
        for tenant, (served, received, counts) in latest.items():
            age = now - received
            remaining = counts.ms_to_midnight / 1000 - age
            if now - served > RECENT or remaining <= 0:  # yesterday's number would be wrong
                self._latest.pop(tenant, None)
                continue
            knows_reserved = tenant not in unknown
            has_age = knows_reserved and counts.oldest_ms >= 0
            levels += [
                BudgetLevel(
                    resource=budget.resource,
                    consumed=budget.told(budget.used),
                    limit=budget.told(budget.cap),
                    unit=budget.unit,
                    window="day",
                    window_length=DAY,
                    window_remaining=remaining,
                    tenant=tenant,
                    reserved=budget.told(budget.reserved) if knows_reserved else None,
                    reserved_age=counts.oldest_ms / 1000 if has_age else None,
                    shared=True,
                )
                for budget in self._budgets(counts).values()
            ]
        return levels

    def _renewed(
        self, latest: dict[str | None, Seen]
    ) -> tuple[dict[str | None, Seen], set[str | None]]:
        """What Redis says now of tenants with reservations, and of whom it did not answer."""
        unknown = {tenant for tenant, seen in latest.items() if seen.counts.oldest_ms >= 0}
        asked = list(unknown)
        for start in range(0, len(asked), _AT_ONCE):
            tenants = asked[start : start + _AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for tenant in tenants:
                self._script(**self._request("look", tenant, ""), client=pipeline)
            try:
                replies = pipeline.execute()
            except redis.RedisError:
                break
            for tenant, reply in zip(tenants, replies, strict=True):
                before = latest[tenant]
                renewed = before._replace(received=self._now(), counts=_counts(reply))
                latest[tenant] = renewed
                if self._latest.get(tenant) is before:  # else a call has told something newer
                    self._latest[tenant] = renewed
            unknown.difference_update(tenants)
        return latest, unknown


def _counts(reply: Sequence[Any]) -> Counts:
    refused = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
    return Counts(refused, *reply[1:])


class RedisGuard(_Shared, SyncBudgetGuard):
    __doc__ = f"The synchronous guard. {_Shared.__doc__}"

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

    def release_llm(self, session_id: str) -> None:
        """End the session's smallest reservation: its call used nothing, as far as is known."""
        info = resolve(self.session_info, session_id)
        self._remember(self._script(**self._request("release", info.tenant, session_id)), info)


class AsyncRedisGuard(_Shared, BudgetGuard):
    __doc__ = f"The async guard. {_Shared.__doc__}"

    def _connect(self, url: str, **options: Any) -> None:
        super()._connect(url, **options)
        self._async_redis = redis.asyncio.Redis.from_url(url, retry=AsyncRetry(*_ONCE), **options)
        self._async_script: Any = self._async_redis.register_script(_SCRIPT)

    async def aclose(self) -> None:
        self._redis.close()
        await self._async_redis.aclose()

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        info = resolve(self.session_info, session_id)
        step = self._step("reserve", session_id, self._estimate(estimated_prompt_tokens), info)
        if unpriced := step.pop("unpriced"):
            return self._unpriced(info, unpriced)
        try:
            reply = await self._async_script(**step)
        except redis.RedisError as error:
            return self._down(error)
        return self._decide(self._remember(reply, info), info, step)

    async def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        info = resolve(self.session_info, session_id)
        step = self._step("settle", session_id, usage, info)
        unpriced = step.pop("unpriced")
        self._remember(await self._async_script(**step), info)
        if unpriced:
            raise LookupError(self._unpriced(info, unpriced).reason)

    async def release_llm(self, session_id: str) -> None:
        """End the session's smallest reservation: its call used nothing, as far as is known."""
        info = resolve(self.session_info, session_id)
        request = self._request("release", info.tenant, session_id)
        self._remember(await self._async_script(**request), info)
