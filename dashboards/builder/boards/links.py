"""Where a table's cells lead: from a budget to its drill-down, from a denial to its traces."""

from __future__ import annotations

from typing import Final

from dashboards.builder.labels import AGENT, PRINCIPAL, RESOURCE, TENANT
from dashboards.builder.model import Link
from otel_budget import semconv

_DRILLDOWN: Final = "otel-budget-drilldown"
#: The search for traces in the shipped page, and its parameters: what a denial opens there.
_TRACES: Final = "traces?tenant={tenant}&decision={decision}"
#: The same in Grafana, whose text box Jaeger has the address of a Jaeger with a page.
_JAEGER: Final = "${{jaeger}}/search?service={service}&tags=%7B{tags}%7D"


def _grafana_cell(header: str) -> str:
    return f'${{__data.fields["{header}"]:percentencode}}'


def _perses_cell(label: str) -> str:
    return f'${{__data.fields["{label}"]}}'


def _drilldown(column: str, *chosen: tuple[str, str, str]) -> Link:
    """By a cell of `column`: drop-down, label and header of each value that is chosen."""
    grafana = "&".join(f"var-{name}={_grafana_cell(header)}" for name, _, header in chosen)
    perses = "&".join(f"var-{name}={_perses_cell(label)}" for name, label, _ in chosen)
    return Link(
        "Open the drill-down",
        column,
        f"/d/{_DRILLDOWN}?{grafana}&${{__url_time_range}}",
        f"{_DRILLDOWN}?{perses}",
    )


#: From a budget's verdict to its page.
TO_BURNDOWN: Final = Link(
    "Open the burn-down",
    "verdict",
    f"/d/otel-budget-burndown?var-tenant={_grafana_cell('Tenant')}"
    f"&var-resource={_grafana_cell('Resource')}",
    f"otel-budget-burndown?var-tenant={_perses_cell(TENANT)}&var-resource={_perses_cell(RESOURCE)}",
)
_OF_TENANT: Final = ("tenant", TENANT, "Tenant")
#: In a table with the columns Tenant, Agent and User.
TO_DRILLDOWN: Final = (
    _drilldown(TENANT, _OF_TENANT),
    _drilldown(AGENT, _OF_TENANT, ("agent", AGENT, "Agent")),
    _drilldown(PRINCIPAL, _OF_TENANT, ("principal", PRINCIPAL, "User")),
)
#: In a table of agents, and of users.
OF_AGENT: Final = (_drilldown(AGENT, ("agent", AGENT, "Agent")),)
OF_USER: Final = (_drilldown(PRINCIPAL, ("principal", PRINCIPAL, "User")),)


def _search(service: str, tenant: str, *, denials: bool) -> str:
    tags = {semconv.TENANT: tenant} | ({semconv.DECISION: semconv.DENY} if denials else {})
    written = "%2C".join(f"%22{key}%22%3A%22{value}%22" for key, value in tags.items())
    return _JAEGER.format(service=service, tags=written)


#: Addresses of the chosen tenant's decisions and denials.
CHOSEN_IN_GRAFANA: Final = {
    name: _search("${service:percentencode}", "${tenant:percentencode}", denials=name == "denials")
    for name in ("decisions", "denials")
}
CHOSEN_IN_PERSES: Final = {
    name: _TRACES.format(tenant="${tenant:percentencode}", decision=decision)
    for name, decision in (("decisions", ""), ("denials", semconv.DENY))
}


def to_denials(column: str) -> Link:
    """From a row of denials to their traces, which have the guard's reason.

    Args:
        column: The label whose cells lead there, in a table with the columns Service and Tenant.
    """
    return Link(
        "Open its denials' traces",
        column,
        _search(_grafana_cell("Service"), _grafana_cell("Tenant"), denials=True),
        _TRACES.format(tenant=_perses_cell(TENANT), decision=semconv.DENY)
        + f"&resource={_perses_cell(RESOURCE)}",
    )
