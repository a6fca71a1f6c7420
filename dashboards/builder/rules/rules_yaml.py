"""Rules as the YAML that Prometheus reads, with the reasons as comments."""

from __future__ import annotations

import textwrap
from typing import Any

import promql_parser
import yaml

from dashboards.builder import queries
from dashboards.builder.rules.alert_model import Alert, Group, Record

_HEADER = """\
# Written from dashboards/thresholds.toml: change that, then run `make dashboards` in the
# repository, or `otel-budget files` where that wrote this.
"""


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that queries are readable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _readable(expr: str) -> str:
    """A long query over several lines, unless it has a modifier that the parser does not know."""
    if len(expr) <= 90 or queries.ANCHORED in expr:
        return expr
    pretty = str(promql_parser.parse(expr).prettify())
    # A text that begins with a space is one that Cortex' ruler writes and then cannot read.
    return f"(\n{pretty}\n)" if pretty.startswith(" ") else pretty


def _entry(rule: Record | Alert, runbook_base: str) -> tuple[str, dict[str, Any]]:
    if isinstance(rule, Record):
        entry: dict[str, Any] = {"record": rule.record, "expr": _readable(rule.expr)}
        if rule.labels:
            entry["labels"] = dict(rule.labels)
        return rule.because, entry
    entry = {"alert": rule.alert, "expr": _readable(rule.expr)}
    if rule.for_ != "0s":  # the default
        entry["for"] = rule.for_
    if rule.keep_firing_for:
        entry["keep_firing_for"] = rule.keep_firing_for
    entry["labels"] = {"severity": rule.severity}
    entry["annotations"] = {
        "summary": rule.summary,
        "description": rule.description,
        "runbook_url": f"{runbook_base}/{rule.alert}.md",
    }
    return f"for {rule.for_}: {rule.because}", entry


def render(group: Group, runbook_base: str) -> str:
    """One rule file with one group.

    Args:
        group: The group.
        runbook_base: What the `runbook_url` annotation begins with.
    """
    lines = [_HEADER, "groups:", f"  - name: {group.name}"]
    if group.interval:
        lines.append(f"    interval: {group.interval}")
    if group.query_offset:
        lines.append(f"    query_offset: {group.query_offset}")
    lines.append("    rules:")
    for rule in group.rules:
        comment, entry = _entry(rule, runbook_base)
        lines += [f"      # {line}" for line in comment.splitlines()]
        dumped = yaml.dump([entry], Dumper=_Dumper, sort_keys=False, width=10_000)
        lines.append(textwrap.indent(dumped, " " * 6).rstrip() + "\n")
    return "\n".join(lines).rstrip() + "\n"
