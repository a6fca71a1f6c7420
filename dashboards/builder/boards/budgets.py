"""Every budget in one table, the most urgent first, with a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dashboards.builder import queries
from dashboards.builder.boards import links
from dashboards.builder.boards.shared_panels import stat
from dashboards.builder.labels import (
    AGENT,
    ENVIRONMENT,
    GUARD,
    JOB,
    LEVEL,
    PRINCIPAL,
    RESOURCE,
    SHARED,
    SOURCE,
    TENANT,
    UNIT,
    WINDOW,
)
from dashboards.builder.model import SECONDS, SHARE, WHOLE, Panel, Step, Target, Word
from dashboards.builder.rules.alert_model import (
    EMPTYING,
    EXHAUSTED_SINCE,
    EXHAUSTION,
    FORECAST,
    LIMIT,
    UTILIZATION,
    WINDOW_REMAINING,
)
from dashboards.builder.rules.forecast_records import EMPTIED, RUNS_OUT, STATE
from dashboards.builder.scope import Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

#: How many budgets the table has; how many there are stands above it.
TOP: Final = 30
#: Labels that only the table has: the key of a row, its verdict, and what is left, with the unit.
ROW, VERDICT, LEFT = "row", "verdict", "left"
_SAME: Final = f"on ({', '.join(LEVEL)})"
_COLORS: Final = (
    Word("^(exhausted|over )", "red"),
    Word("^(empty|runs out)", "orange"),
    Word("^(not enough|no forecast)", "grey"),
)


@dataclass(frozen=True, slots=True)
class Urgency:
    """The queries behind the table, of one board's drop-downs."""

    scope: Scope

    @property
    def used(self) -> str:
        """The used share of each budget that is told now, of its cap or its soft limit."""
        return self.scope.recorded(UTILIZATION)

    def cap(self, record: str, *matchers: str) -> str:
        """A record of budgets whose guard tells their cap."""
        return self.scope.recorded(record, queries.CAP, *matchers)

    @property
    def rank(self) -> str:
        """Exhausted budgets, then those that run out before their reset, then the fullest."""
        soon = f"({self.cap(EXHAUSTION)} < {self.cap(WINDOW_REMAINING)})"
        return (
            f"(0 * {self.cap(EXHAUSTED_SINCE)} + 3 or 1 / (1 + {soon} / 3600) + 2 "
            f"or clamp_max({self.used}, 1.9))"
        )

    @property
    def verdict(self) -> str:
        """What a person need not compute, as a label of each budget; the number is 1."""
        before = f"{self.cap(WINDOW_REMAINING)} - {self.cap(EXHAUSTION)} > 0"
        of_soft = queries.equals(semconv.SOURCE, semconv.SOURCE_SOFT_LIMIT)
        soft = f"{self.scope.recorded(UTILIZATION, of_soft)} >= 1"
        told = (
            queries.told(
                f"time() - {self.cap(EXHAUSTED_SINCE)}", LEVEL, VERDICT, "exhausted for {}"
            ),
            queries.told(
                f"{self.cap(EMPTYING)} < {self.cap(WINDOW_REMAINING)}",
                LEVEL,
                VERDICT,
                "empty in {}",
            ),
            queries.told(before, LEVEL, VERDICT, "runs out {} before its reset"),
            f'label_replace({self.cap(FORECAST)}, "{VERDICT}", "$1", "{STATE}", "(.*)")',
            queries.marked(f"0 * ({soft}) + 1", VERDICT, "over its soft limit"),
            queries.marked(f"0 * {self.used} + 1", VERDICT, "no forecast: no window is told"),
        )
        return "(" + f" or {_SAME} ".join(f"({words})" for words in told) + ")"

    @property
    def left(self) -> str:
        """What is left of each budget, with its unit, as a label."""
        left = f"clamp_min({self.scope.recorded(LIMIT)} * (1 - {self.used}), 0)"
        number = queries.count_values(f"round({left}, 0.01)", LEVEL, LEFT)
        return f'label_join({number}, "{LEFT}", " ", "{LEFT}", "{UNIT}")'

    @property
    def projected(self) -> str:
        """The used share at the reset, at the pace that the forecast believes."""
        pace = f"({self.cap(WINDOW_REMAINING)} / ({self.cap(EXHAUSTION)} > 0))"
        used = self.cap(UTILIZATION)
        return f"{used} + clamp_min(1 - {used}, 0) * {pace}"

    def row(self, expr: str) -> str:
        """Numbers of the budgets in the table, each with the key of its row."""
        return queries.keyed(f"(({expr}) and {_SAME} topk({TOP}, {self.rank}))", ROW, LEVEL)


def panels(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    """How many budgets are in which state, and the table."""
    urgency = Urgency(scope)
    told = f"count({urgency.used})"
    near = thresholds.utilization_soft
    running = urgency.cap(FORECAST, f'{STATE}=~"{EMPTIED}|{RUNS_OUT}"')

    def number(key: str, title: str, expr: str, description: str, *steps: Step) -> Panel:
        shown = expr if expr == told else queries.or_zero(expr, told)
        return stat(key, title, shown, WHOLE, description, steps=steps)

    return [
        number(
            "exhausted",
            "Exhausted",
            f"count({urgency.cap(EXHAUSTED_SINCE)})",
            "Budgets that are used up now: their calls are refused until the reset, or until "
            "somebody raises the limit.",
            Step(1, "red"),
        ),
        number(
            "running_out",
            "Run out before their reset",
            f"count({running})",
            "Budgets that will be used up before their window ends, by a pace that can be "
            "believed.",
            Step(1, "orange"),
        ),
        number(
            "near",
            f"{near:.0%} used or more",
            f"count({urgency.used} >= {near})",
            "Budgets near their limit, exhausted ones among them; of guards that tell no cap, "
            "near a soft limit.",
            Step(1, "orange"),
        ),
        number(
            "budgets",
            "Budgets",
            told,
            f"All budgets that are told now. The table has the {TOP} most urgent of them.",
        ),
        _table(urgency, thresholds),
    ]


def _table(urgency: Urgency, thresholds: Thresholds) -> Panel:
    steps = (Step(thresholds.utilization_soft, "orange"), Step(thresholds.utilization_hard, "red"))
    ranked = f"topk({TOP}, {urgency.rank}) * {_SAME} group_left ({VERDICT}) {urgency.verdict}"
    return Panel(
        key="budgets_table",
        title="Budgets, most urgent first",
        kind="table",
        description="As of now, by recording rules: exhausted budgets (since when), then those "
        "that run out before their reset (the next one first), then the fullest. The verdict goes "
        "by the earliest pace that can be believed: that of the budget's window once a tenth of "
        "it has passed; for windows of two weeks or more that of the last seven days, once they "
        "have passed; and that of the last ten minutes where a budget is being emptied. At reset: "
        "what will be used by then at this pace, if nothing is refused. For a guard that does not "
        "tell its cap, the soft limit that was crossed. A tenant opens the drill-down.",
        targets=(
            Target(
                expr=f"sort_desc({queries.keyed(ranked, ROW, LEVEL)})", header="Rank", hidden=True
            ),
            Target(expr=urgency.row(f"{urgency.used} + 0"), header="Used", unit=SHARE, steps=steps),
            Target(expr=urgency.row(urgency.left), header="Left of it", hidden=True),
            Target(expr=urgency.row(urgency.projected), header="At reset", unit=SHARE, steps=steps),
            Target(
                expr=urgency.row(f"{urgency.cap(WINDOW_REMAINING)} + 0"),
                header="Resets in",
                unit=SECONDS,
            ),
        ),
        columns=(
            (TENANT, "Tenant"),
            (VERDICT, "Verdict"),
            ("", "Used"),
            (LEFT, "Left"),
            ("", "At reset"),
            ("", "Resets in"),
            (WINDOW, "Window"),
            (RESOURCE, "Resource"),
            (AGENT, "Agent"),
            (PRINCIPAL, "User"),
            (ENVIRONMENT, "Environment"),
            (GUARD, "Guard"),
            (JOB, "Service"),
        ),
        hidden=(UNIT, SOURCE, SHARED),
        row=ROW,
        words=((VERDICT, _COLORS),),
        width=24,
        height=10,
        links=(*links.TO_DRILLDOWN, links.TO_BURNDOWN),
    )
