"""Clients for one Redis or a Redis Cluster: every wait is bounded, and nothing is tried twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from redis import Redis, RedisCluster
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio import RedisCluster as AsyncRedisCluster

_MISSING: Final = "a Redis guard needs the package redis: pip install 'otel-budget[redis]'"
#: Of one event loop to one node of a cluster; that client refuses a call beyond it.
_MOST_CONNECTIONS: Final = 10_000


class Clients:
    """Makes clients for the server or cluster that a guard's counts are on.

    Args:
        url: ``redis://`` or ``rediss://`` (TLS), with user and password; a sequence of them are
            nodes of a Redis Cluster, any of which tells of the others.
        timeout: Seconds that connecting may take, and each answer.

    Attributes:
        errors: What a client raises.
        no_script: What it raises if Redis does not know the script.

    Raises:
        ModuleNotFoundError: The package redis is not installed.
        ValueError: A URL cannot be read, or there is none.
    """

    def __init__(self, url: str | Sequence[str], timeout: float) -> None:
        try:
            from redis.connection import parse_url
            from redis.exceptions import NoScriptError, RedisClusterException, RedisError
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(_MISSING, name=error.name) from error
        self.errors: Final = (RedisError, RedisClusterException)
        self.no_script: Final = NoScriptError
        self._cluster: Final = not isinstance(url, str)
        self._urls: Final = [url] if isinstance(url, str) else list(url)
        if not self._urls:
            raise ValueError("a Redis guard needs the URL of Redis, or those of a cluster's nodes")
        self._parsed: Final[list[dict[str, Any]]] = [
            parse_url(one)  # type: ignore[no-untyped-call]
            for one in self._urls
        ]
        self._bounds: Final[dict[str, Any]] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }

    def sync(self) -> Redis | RedisCluster:
        """A client; that of a cluster asks it for its nodes at once."""
        from redis import Redis, RedisCluster
        from redis.backoff import NoBackoff
        from redis.cluster import ClusterNode
        from redis.retry import Retry

        # A script that ran but whose reply was lost must not run again: it would count twice.
        once = Retry(NoBackoff(), 0)
        if not self._cluster:
            return Redis.from_url(self._urls[0], retry=once, **self._bounds)
        nodes = [ClusterNode(*one) for one in self._addresses()]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, retry=once, **self._for_nodes(), **self._bounds)

    def asynchronous(self) -> AsyncRedis | AsyncRedisCluster:
        """A client for the running event loop."""
        from redis.asyncio import Redis, RedisCluster
        from redis.asyncio.cluster import ClusterNode
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        once = Retry(NoBackoff(), 0)
        if not self._cluster:
            return Redis.from_url(self._urls[0], retry=once, **self._bounds)
        nodes = [ClusterNode(*one) for one in self._addresses()]
        return RedisCluster(
            startup_nodes=nodes,
            retry=once,
            max_connections=_MOST_CONNECTIONS,
            **self._for_nodes(),
            **self._bounds,
        )

    def _addresses(self) -> list[tuple[str, int]]:
        return [(one.get("host", "localhost"), one.get("port", 6379)) for one in self._parsed]

    def _for_nodes(self) -> dict[str, Any]:
        """User, password and TLS, which are the same for all nodes."""
        from redis.connection import SSLConnection

        options = dict(self._parsed[0])
        for name in ("host", "port", "db"):
            options.pop(name, None)
        if options.pop("connection_class", None) is SSLConnection:
            options["ssl"] = True
        return options
