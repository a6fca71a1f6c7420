"""The Redis guards: those who wait for the replies."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from typing import Any

from otel_budget.contract import (
    BudgetDecision,
    BudgetGuard,
    BudgetLevel,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.guards.redis_guard.counts import RedisCounts, Request, new_id


class _SyncWaits(RedisCounts):
    """Waits on the calling thread."""

    _client: Any = None

    def _wait(self, asking: Generator[Request, Sequence[Any], Any]) -> Any:
        try:
            request = next(asking)
            while True:
                try:
                    reply = self._send(request)
                except Exception as error:
                    request = asking.throw(error)
                else:
                    request = asking.send(reply)
        except StopIteration as done:
            return done.value

    def _send(self, request: Request) -> Any:
        # Not before the first call: a client of a cluster asks it for its nodes at once.
        client = self._client
        if client is None:
            client = self._client = self._clients.sync()
        run = getattr(client, request.method)
        return run(request.script, len(request.keys), *request.keys, *request.arguments)

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def budget_levels(self) -> list[BudgetLevel]:
        """How full the budgets are that this process served in the last five minutes.

        Asked of Redis, which ends reservations that have expired. Against the caps, not the soft
        thresholds; a limit per session reports the fullest session of each tenant, and the
        uncounted calls of all of them. Of more than 2,000 budgets the fullest are told.

        Raises:
            redis.RedisError: Redis does not answer, so no level is known.
        """
        levels: list[BudgetLevel] = self._wait(self._telling())
        return levels


class RedisGuard(_SyncWaits, SyncBudgetGuard):
    """A synchronous guard that enforces one or more `Limit` over all processes that share a Redis.

    A `WindowGuard` whose counts are in Redis: write ``RedisGuard(…, url="redis://…")`` for
    ``WindowGuard(…)``. Give all processes the same limits and reservation. All limits of a call are
    checked and reserved in one script, which nothing interrupts, and a record settles them in
    another. Windows begin and end by the clock of Redis. All keys of a guard are in one slot of a
    Redis Cluster, unless `shard` says otherwise.

    With a `reservation`, a limit is passed by no more than

    - what calls in progress use beyond their reservations (and meanwhile by the difference to the
      larger reservation that such a call ended),
    - what is recorded and cannot be counted: records that ended in an error, calls of
      `uncounted_calls`, and what a call uses after its reservation has expired,
    - what Redis acknowledged and lost: in a crash, by its ``appendfsync``; at a failover, what had
      not reached the replica.

    Every wait is bounded by `timeout`, and nothing is tried twice, because a script whose reply was
    lost may have run: a check that failed may hold its reservation until it expires, and a record
    that failed may or may not have been counted.

    Args:
        *limits: The budgets. If several apply to a call, the fullest decides. A cap is at most
            9,007,199 USD or 2^53 tokens.
        url: ``redis://`` or ``rediss://`` (TLS), with user and password; for a Redis Cluster a list
            of the URLs of several of its nodes, of which one must answer.
        deny_tools: Tools that are refused: names, or patterns such as ``shell*``.
        session_info: Who a session is for and which model serves it. Pass the same to `instrument`.
        prices: What calls cost. Pass the same to `instrument`.
        reservation: What checks reserve; None for nothing. A session may hold 1,000 reservations;
            beyond that, its calls are refused until one ends. Only Redis' clock ends them.
        when_down: What a check does if Redis does not answer: ``closed`` raises, which a runtime
            takes as a refusal; ``open`` lets the call proceed with a `SoftLimit` on
            ``guard_unavailable``. Records raise either way.
        timeout: Seconds that connecting to Redis may take, and each of its answers.
        prefix: What all keys begin with; guards of one prefix share their counts.
        shard: ``tenant`` keeps a tenant's limits and those of its users, agents and sessions in a
            slot of its own, and limits of ``all`` in another. With both kinds of limits a call
            takes two scripts, and a third if ``all`` is refused: what the tenant's limits have
            reserved is released. A session is counted in each tenant apart. All guards of one
            prefix must have the same; a change begins the tenants' budgets at zero.
        forget_after: Seconds without a call after which a budget that never resets begins again at
            zero.
        clock: Seconds since the epoch, for tests: Redis is told this time instead of its own.

    Raises:
        ModuleNotFoundError: The package redis is not installed.
        TypeError: `prices` is not a price source, or `session_info` neither a `SessionInfo` nor a
            plain function.
        ValueError: An option is out of range, or two limits are the same budget.
    """

    def close(self) -> None:
        """Close the connections to Redis."""
        self._close()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent, or too small for its reservation."""
        decision: BudgetDecision = self._wait(
            self._checking(new_id(), session_id, estimated_prompt_tokens)
        )
        return decision

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        self._wait(self._recording(session_id, usage))

    def release_llm(self, session_id: str) -> None:
        """End the reservation of a call that used nothing, as far as is known."""
        self._wait(self._releasing(session_id))

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)


class AsyncRedisGuard(_SyncWaits, BudgetGuard):
    """An async guard that enforces one or more `Limit`; apart from ``await``, a `RedisGuard`.

    It may share its counts with one. A check that is cancelled gives its reservation back, and a
    record that is cancelled is counted all the same. Each event loop has connections of its own:
    await `aclose` before a loop ends, or Python warns of what it leaves open.
    """

    def _prepare(self) -> None:
        #: A connection belongs to the event loop that made it.
        self._of_loop: dict[asyncio.AbstractEventLoop, Any] = {}
        #: What goes on when its caller has gone.
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def aclose(self) -> None:
        """Close the connections to Redis, after what goes on for callers that were cancelled."""
        loop = asyncio.get_running_loop()
        # A copy: another loop's thread may add to it meanwhile.
        unfinished = [task for task in list(self._unfinished) if task.get_loop() is loop]
        await asyncio.gather(*unfinished, return_exceptions=True)
        client = self._of_loop.pop(loop, None)
        if client is not None:
            await client.aclose()
        self._close()

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent, or too small for its reservation."""
        call_id = new_id()
        try:
            decision: BudgetDecision = await self._await(
                self._checking(call_id, session_id, estimated_prompt_tokens)
            )
        except asyncio.CancelledError:
            self._going_on(self._releasing(session_id, call_id))
            raise
        return decision

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        await asyncio.shield(self._going_on(self._recording(session_id, usage)))

    async def release_llm(self, session_id: str) -> None:
        """End the reservation of a call that used nothing, as far as is known."""
        await self._await(self._releasing(session_id))

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)

    async def _await(self, asking: Generator[Request, Sequence[Any], Any]) -> Any:
        try:
            request = next(asking)
            while True:
                try:
                    reply = await self._send_async(request)
                except Exception as error:
                    request = asking.throw(error)
                else:
                    request = asking.send(reply)
        except StopIteration as done:
            return done.value

    async def _send_async(self, request: Request) -> Any:
        loop = asyncio.get_running_loop()
        client = self._of_loop.get(loop)
        if client is None:
            for ended in [other for other in self._of_loop if other.is_closed()]:
                del self._of_loop[ended]
            client = self._of_loop[loop] = self._clients.asynchronous()
        run = getattr(client, request.method)
        return await run(request.script, len(request.keys), *request.keys, *request.arguments)

    def _going_on(self, asking: Generator[Request, Sequence[Any], Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(self._await(asking))
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # its caller, if there is one, is told; a reservation expires
