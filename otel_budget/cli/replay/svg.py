"""Writes charts of use against limit as one SVG file, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import floor, log10
from typing import Final
from xml.sax.saxutils import escape

from otel_budget.cli.replay.plot import BUCKETS, Chart
from otel_budget.cli.terminal import clean, counted

_WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _PLOT, _CHART = 92, 24, 58, 200, 330
_STYLE: Final = """
svg { background: #fff; font: 13px system-ui, sans-serif; }
text { fill: #333; } .dim { fill: #666; font-size: 12px; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: #ddd; } .limit { stroke: #c62828; stroke-width: 1.5; stroke-dasharray: 6 4; }
.limit-name, .refused-name { fill: #c62828; font-size: 12px; }
.refused { stroke: #c62828; stroke-width: 1.5; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.c0 { stroke: #1565c0; } .c1 { stroke: #ef6c00; } .c2 { stroke: #6a1b9a; }
@media (prefers-color-scheme: dark) {
svg { background: #181b1f; } text { fill: #ddd; } .dim { fill: #a0a0a0; } .grid { stroke: #34383e; }
.limit, .refused { stroke: #ff6b6b; } .limit-name, .refused-name { fill: #ff6b6b; }
.c0 { stroke: #64b5f6; } .c1 { stroke: #ffb74d; } .c2 { stroke: #ce93d8; }
}
"""
#: Distances between the marks of a time axis, in seconds.
_DISTANCES: Final = (
    *(60, 300, 900, 3_600, 10_800, 21_600, 43_200),
    *(86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000),
)


def svg_of(charts: Sequence[Chart]) -> str:
    """The charts, one below the other."""
    height = _CHART * len(charts) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>Use against limit over time</title><style>{_STYLE}</style>",
    ]
    for number, chart in enumerate(charts):
        parts.append(f'<g transform="translate(0 {number * _CHART})">')
        parts += _chart(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart) -> Iterator[str]:
    width, bottom = _WIDTH - _LEFT - _RIGHT, _TOP + _PLOT
    top = _nice(chart.top * 1.08)
    cap = chart.limit.limit.cap

    def x(share: float) -> float:
        return round(_LEFT + share * width, 1)

    def y(used: float) -> float:
        return round(bottom - used / top[0] * _PLOT, 1)

    yield _text(_LEFT, 22, str(chart.limit), "title")
    yield from _legend(chart)
    for mark in top[1]:
        yield _line(x(0), y(mark), x(1), y(mark), "grid")
        yield _text(_LEFT - 8, y(mark) + 4, _amount(mark, chart), "dim", "end")
    for share, words in _times(chart):
        yield _line(x(share), _TOP, x(share), bottom, "grid")
        yield _text(x(share), bottom + 38, words, "dim", "middle")
    for number, line in reversed(list(enumerate(chart.lines))):
        path = " ".join(f"{x(min(at, 1.0))},{y(used)}" for at, used in line.path())
        yield f'<polyline class="line c{number}" points="{path}"/>'
    yield _line(x(0), y(cap), x(1), y(cap), "limit")
    yield _text(x(1), y(cap) - 5, f"limit {_amount(cap, chart)}", "limit-name", "end")
    refused = sorted({part for line in chart.lines for part in line.refused})
    for part in refused:
        at = x(part / (BUCKETS - 1))
        yield _line(at, bottom + 6, at, bottom + 18, "refused")
    if refused:
        yield _text(_LEFT - 8, bottom + 17, "refused", "refused-name", "end")


def _legend(chart: Chart) -> Iterator[str]:
    at = float(_LEFT)
    for number, line in enumerate(chart.lines):
        name = clean(line.name)
        name = name if len(name) < 30 else f"{name[:28]}…"
        refused = sum(line.refused.values())
        words = f"{name}: {counted(refused, 'call')} refused" if refused else name
        yield f'<line class="line c{number}" x1="{at}" y1="41" x2="{at + 18}" y2="41"/>'
        yield _text(at + 24, 45, words, "dim")
        at += 40 + 6.6 * len(words)
    others = chart.accounts - len(chart.lines)
    if others > 0:
        yield _text(at, 45, f"{others:,} others not drawn", "dim")


def _nice(top: float) -> tuple[float, list[float]]:
    """The end of an axis, and its marks."""
    step = 10.0 ** floor(log10(top / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if top / (step * factor) <= 5)
    marks = [step * number for number in range(int(top / step) + 1)]
    return top, marks


def _times(chart: Chart) -> Iterator[tuple[float, str]]:
    """The marks of the time axis: where they are, and what they say."""
    length = chart.end - chart.start
    distance = next((each for each in _DISTANCES if length / each <= 8), _DISTANCES[-1])
    first = datetime.fromtimestamp(chart.start, chart.zone)
    at = first.replace(hour=0, minute=0, second=0, microsecond=0)
    form = "%H:%M" if length <= 86_400 else "%d %b %H:%M" if distance < 86_400 else "%d %b %Y"
    while at.timestamp() <= chart.end:
        share = (at.timestamp() - chart.start) / length
        if 0.02 <= share <= 0.97:
            yield share, at.strftime(form)
        at += timedelta(seconds=distance)


def _amount(value: float, chart: Chart) -> str:
    if chart.limit.limit.unit == "USD":
        digits = max(2, 1 - floor(log10(chart.top / 4)))
        return f"${value:,.{digits}f}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.4g} {letter}"
    return f"{value:,.0f}"


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, words: str, name: str, anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
