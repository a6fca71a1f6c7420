"""A fleet on this machine, one of each part killed in turn: ``python -m support.fleet``.

Eight processes with a Redis guard each, on a Redis Cluster of three masters with a replica each; a
Collector beside each four of them, two gateways, and a store of three replicas of Cortex.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from collector.backends import missing
from collector.stack import Stack, StackError
from otel_budget import semconv as sc
from otel_budget.guards import RedisGuard
from otel_budget.guards.redis_guard import steps
from support.applications import LoadApp
from support.distributed_store import REPLICAS, CortexStore
from support.faults import COUNTERS
from support.fleet_app import LIMITS, SERVICE
from support.fleet_books import (
    Account,
    Books,
    Bound,
    Counts,
    Failover,
    Refusal,
    bound_of,
    by_account,
)
from support.probes import audit_events, eventually
from support.redis_cluster import RedisCluster
from support.redis_server import program_missing

PROCESSES, PREFIX = 8, "fleet"
#: What a Collector logs when it tries again.
_RETRY = "Exporting failed. Will retry"


@dataclass
class Period:
    """What was killed, from when to when, and what the Collectors' logs had of it.

    Attributes:
        part: Of `Report.effects`, what must notice it.
    """

    name: str
    since: float
    part: str = ""
    away: float | None = None
    until: float = float("inf")
    retries: int = 0


@dataclass
class Report:
    """What a run found.

    Attributes:
        periods: What was killed, one after the other.
        books: By process.
        bounds: Every account.
        wrong: What is not as it must be, one sentence each.
        found: The counters in the store, by process.
        dropped: Requests of metrics that the Collectors gave up.
    """

    periods: list[Period]
    books: dict[str, Books]
    bounds: list[Bound]
    wrong: list[str] = field(default_factory=list)
    found: dict[str, Counts] = field(default_factory=dict)
    dropped: int = 0

    def effects(self) -> Iterator[dict[str, int]]:
        """What each period cost."""
        kinds: dict[str, dict[str, str]] = {
            "check": {"decision": "error"}, "refused as unavailable": {}, "record failed": {},
            "export failed": {},
        }  # fmt: skip
        for one in self.periods:
            told = {
                what: sum(
                    book.number(what, one.since, one.until, **more) for book in self.books.values()
                )
                for what, more in kinds.items()
            }
            yield told | {"retries": one.retries}

    def lines(self) -> Iterator[str]:
        """Tables for people, and the verdict."""
        yield "| killed | at | away | checks failed | refused as unavailable | records failed | "
        yield "exports failed | Collectors' retries, at least |\n|" + " --- |" * 8 + "\n"
        start = self.periods[0].since
        for one, told in zip(self.periods, self.effects(), strict=True):
            away = "" if one.away is None else f"{one.away:.1f} s"
            cells = one.name, f"{one.since - start:.0f} s", away, *told.values()
            yield f"| {' | '.join(map(str, cells))} |\n"
        yield "\n| limit | accounts | reached by | passed by at most | its bound | of all: (a) | "
        yield "(b) | (c) | in Redis less than was used |\n|" + " --- |" * 9 + "\n"
        for number, limit in enumerate(LIMITS):
            some = [bound for bound in self.bounds if bound.account[0] == number]
            worst = max(some, key=lambda bound: bound.spent - bound.cap)
            cells = (
                f"{limit.name} {limit.cap:,g}", len(some),
                sum(one.spent >= 0.9 * one.cap for one in some), max(0, worst.spent - worst.cap),
                worst.bound, sum(one.beyond for one in some), sum(one.failed for one in some),
                sum(one.in_lag for one in some), sum(one.spent - one.told for one in some),
            )  # fmt: skip
            yield f"| {' | '.join(map(str, cells))} |\n"
        counted = sum(self.found.values(), Counts())
        yield "\nIn tokens and micro-USD. In the store, and counted by the processes: "
        yield f"{_of(counted)}.\n"
        for name, book in self.books.items():
            if not book.ended:
                lost, unsent = book.counts - self.found[name], book.counts - book.least
                yield f"{name} was killed: it lost {_of(lost)}, of {_of(unsent)} not sent yet.\n"
        if self.dropped:
            yield f"The Collectors dropped {self.dropped} requests that a replica of the store, "
            yield "just started, answered with an error: the next exports made that good.\n"
        for sentence in self.wrong:
            yield f"WRONG: {sentence}\n"
        yield (
            "\nNOT AS PROMISED.\n"
            if self.wrong
            else (
                "\nAS PROMISED: counters exact, no denial missing, no limit passed by more than "
                "its bound.\n"
            )
        )


def _of(counts: Counts) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in sorted(counts.items())) or "nothing"


class Fleet:
    """All parts, running; `run` does the rest.

    Args:
        folder: For all data.
        say: Told what is done.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        (folder / "store").mkdir()
        self._cluster = RedisCluster()
        self._store = CortexStore(folder / "store")
        self._gateways = [
            Stack(
                folder / f"gateway-{number}",
                overlays=["distributed-store"],
                environment=self._store.environment(number),
                programs=["otelcol"],
            )
            for number in range(2)
        ]
        addresses = [gateway.addresses["OTELCOL_OTLP_GRPC"] for gateway in self._gateways]
        self._agents = [
            Stack(
                folder / f"agent-{number}",
                overlays=["gateway"],
                environment={
                    "OTELCOL_GATEWAYS": json.dumps(addresses),
                    "OTELCOL_GATEWAY": addresses[number],
                },
                programs=["otelcol"],
            )
            for number in range(2)
        ]
        self._apps: dict[str, LoadApp] = {}
        self._periods: list[Period] = []
        self._failovers: list[Failover] = []
        self._held = ExitStack()

    def __enter__(self) -> Fleet:
        started = time.monotonic()
        try:
            with ThreadPoolExecutor() as pool:
                cluster = pool.submit(self._held.enter_context, self._cluster)
                self._held.enter_context(self._store)
                cluster.result()
            for collector in (*self._gateways, *self._agents):
                self._held.enter_context(collector)
            for number in range(PROCESSES):
                self._start_app(f"app-{number}", number)
            for app in self._apps.values():
                app.wait_started()
        except BaseException:
            self._held.close()
            raise
        self._say(f"All parts run after {time.monotonic() - started:.0f} s.")
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _start_app(self, name: str, number: int) -> LoadApp:
        app = self._apps[name] = LoadApp(
            self._agents[number * 2 // PROCESSES].otlp_http,
            name,
            self._folder / f"{name}.jsonl",
            str(number),
            program="fleet_app.py",
            waits=False,
            FLEET_REDIS=json.dumps(self._cluster.urls),
            OTEL_RESOURCE_ATTRIBUTES=f"service.instance.id={name}",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRIC_EXPORT_INTERVAL="60000",  # it flushes
        )
        self._held.callback(app.close)
        return app

    # -- the run ---------------------------------------------------------------------------
    def run(self) -> Report:
        """Put the fleet under load, kill one of each part, and compare."""
        self._begin("nothing")
        for app in self._apps.values():
            app.send("go")
        time.sleep(8)
        self._kill_a_master()
        self._kill_an_application()
        self._kill_a_collector("a gateway", "retries", self._gateways[0])
        beside = "a Collector beside applications"
        self._kill_a_collector(beside, "export failed", self._agents[0])
        self._begin("a replica of the store", "retries")
        self._store.kill(0)
        time.sleep(5)
        self._away()
        self._store.launch(0)
        # Until then it may answer with an error, after which nothing is sent again.
        self._store.wait_ready()
        time.sleep(4)
        self._begin("nothing; the limit of all is spent")
        books = self._finish()
        self._begin("")
        return self._compared(books)

    def _begin(self, name: str, part: str = "") -> None:
        if self._periods:
            last = self._periods[-1]
            last.until = time.time()
            last.retries = self._logged(_RETRY) - sum(one.retries for one in self._periods[:-1])
        if name:
            self._say(f"killed: {name}")
        self._periods.append(Period(name, time.time(), part))

    def _away(self) -> None:
        self._periods[-1].away = time.time() - self._periods[-1].since

    def _logged(self, text: str) -> int:
        """How often the Collectors have logged it; of many lines at once they leave some out."""
        collectors = (*self._gateways, *self._agents)
        return sum(collector.log("otelcol").count(text) for collector in collectors)

    def _kill_a_master(self) -> None:
        """Of the limit of all, which every call needs."""
        import signal

        key = steps.slot_of_all(PREFIX)
        port = self._cluster.port_of(key)
        slots = self._cluster.slots_of(port)
        self._begin("a master of Redis", "check")
        self._failovers.append(Failover(time.time(), slots))
        self._cluster.signal(port, signal.SIGKILL)
        self._cluster.wait_moved(key, port)
        self._away()
        self._cluster.restart(port)
        time.sleep(4)

    def _kill_an_application(self) -> None:
        self._begin("an application")
        number = PROCESSES - 1
        app = self._apps[f"app-{number}"]
        app.process.kill()
        app.wait_ended()
        another = self._start_app(f"app-{number}-again", number)
        another.wait_started()
        self._away()
        another.send("go")
        time.sleep(4)

    def _kill_a_collector(self, name: str, part: str, collector: Stack) -> None:
        self._begin(name, part)
        collector.kill("otelcol")
        time.sleep(4)
        collector.launch("otelcol")
        self._away()
        time.sleep(4)

    def _finish(self) -> dict[str, Books]:
        """Spend the limit of all, and let every process shut its telemetry down."""
        running = {name: app for name, app in self._apps.items() if app.process.poll() is None}
        for app in running.values():
            app.send("spend")
        refusal = f'"resource": "{LIMITS[-1].name}"'
        eventually(
            lambda: all(refusal in self._file(name).read_text() for name in running), timeout=60
        )
        for app in running.values():
            app.send("finish")
        for app in running.values():
            app.wait_ended()
        return {name: Books(self._file(name)) for name in self._apps}

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    # -- the comparison --------------------------------------------------------------------
    def _compared(self, books: dict[str, Books]) -> Report:
        report = Report(self._periods[:-1], books, list(self._bounds(books)))
        for replica in range(REPLICAS):
            wrong = partial(self._wrong_counters, books, replica)
            report.wrong += eventually(wrong, lambda it: not it, timeout=60)
        report.found = self._counters(0)
        report.wrong += eventually(
            lambda: self._wrong_refusals(books), lambda it: not it, timeout=30
        )
        for bound in report.bounds:
            if not bound.is_kept:
                report.wrong.append(f"{bound}: passed by more than its bound of {bound.bound}")
            if not bound.is_exact:
                report.wrong.append(f"{bound}: Redis says {bound.told}, and may have lost less")
        refused = {one.resource for book in books.values() for one in book.refusals}
        for resource in {limit.name for limit in LIMITS} | {"tools"}:
            if resource not in refused:
                report.wrong.append(f"nothing was refused for {resource}: this run shows nothing")
        for name, book in books.items():
            if book.ended and book.lost:
                report.wrong.append(f"{name} lost {book.lost}")
        report.dropped = self._logged("responded with HTTP Status Code 500")
        for one, number in zip(report.periods, report.effects(), strict=True):
            if one.part and not number[one.part]:
                report.wrong.append(f"nothing noticed that {one.name} was killed")
        return report

    def _counters(self, replica: int) -> dict[str, Counts]:
        """What the store has, by process."""
        found: dict[str, Counts] = {}
        decision = sc.DECISION.replace(".", "_")
        for name, metric in COUNTERS.items():
            series = f'last_over_time({metric.prometheus_name()}{{job="{SERVICE}"}}[1h])'
            for labels, value in self._store.query(
                f"sum by (instance, {decision}) ({series})", replica
            ):
                what = f"{name} {labels[decision]}" if decision in labels else name
                amount = round(value * 1e6) if name == "cost" else round(value)
                found.setdefault(labels["instance"], Counts())[what] += amount
        return found

    def _wrong_counters(self, books: dict[str, Books], replica: int) -> list[str]:
        found, wrong = self._counters(replica), list[str]()
        for name, book in books.items():
            for what in sorted({*book.counts, *found.get(name, ())}):
                told = found.get(name, Counts())[what]
                least = book.counts[what] if book.ended else book.least[what]
                if not least <= told <= book.counts[what]:
                    wrong.append(
                        f"replica {replica + 1} of the store has {told} {what} of {name}, which "
                        f"counted {book.counts[what]} and sent at least {least}"
                    )
        return wrong

    def _wrong_refusals(self, books: dict[str, Books]) -> list[str]:
        told: dict[str, Counter[Refusal]] = {name: Counter() for name in books}
        for gateway in self._gateways:
            for event in audit_events(gateway.audit_file):
                attributes = event["attributes"]
                if attributes[sc.KIND] == sc.KIND_HARD:
                    known = (attributes[key] for key in (sc.SESSION_ID, sc.RESOURCE, sc.MESSAGE))
                    told[event["resource"]["service.instance.id"]][Refusal(*known)] += 1
        wrong = []
        for name, book in books.items():
            needed = book.refusals if book.ended else book.surely
            for count, what in (
                ((needed - told[name]).total(), "denials are missing"),
                ((told[name] - book.refusals).total(), "denials are there too often"),
            ):
                if count:
                    wrong.append(f"{count} {what} in the audit files, of {name}")
        return wrong

    def _bounds(self, books: dict[str, Books]) -> Iterator[Bound]:
        """Every account against its limit, and against what Redis says."""
        from redis.crc import key_slot

        numbers = {limit: number for number, limit in enumerate(LIMITS)}
        told: dict[Account, tuple[int, int]] = {}
        accounts = by_account(books.values())
        guard = RedisGuard(
            *LIMITS, url=self._cluster.urls, prefix=PREFIX, shard="tenant", prices=None
        )
        for call in (calls[0] for calls in accounts.values()):
            for step in guard._steps("look", call.session, call.info):
                for one in guard._wait(guard._ask(step)).found:
                    limit = one.account.terms.limit
                    used = one.used // 1000 if limit.unit == "USD" else one.used
                    account = numbers[limit], limit.key(call.session, call.info)
                    told[account] = used, key_slot(one.account.slot.encode())
        guard.close()
        for account, calls in accounts.items():
            yield bound_of(account, calls, *told[account], self._failovers)


def main(arguments: Sequence[str] = ()) -> int:
    """Run the fleet once and print what it found; 0 if all is as promised, else 1."""
    absent: list[Any] = [*missing("otelcol", "cortex"), *program_missing()]
    if absent:
        print(f"{', '.join(absent)} is missing; run `make backends` and examples/setup.sh.")
        return 1
    with tempfile.TemporaryDirectory(
        prefix="otel-budget-fleet-", ignore_cleanup_errors=True
    ) as name:
        try:
            with Fleet(Path(name), lambda line: print(line, flush=True)) as fleet:
                report = fleet.run()
        except StackError as error:
            print(error)
            return 1
    print(f"\n{''.join(report.lines())}", flush=True)
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
