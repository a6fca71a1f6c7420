"""The fields of a call, and the names that columns usually have for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from otel_budget.cli.replay.log.values import Row, loaded, value
from otel_budget.cli.terminal import CommandError
from otel_budget.contract.usage_shapes import shape_of

#: Letters and digits only, best first.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": (
        "timestamp", "time", "ts", "datetime", "date", "createdat", "created", "starttime",
        "startedat", "requesttime", "arrivaltime", "arrivedat", "requestcreatedat",
    ),
    "session": (
        "sessionid", "session", "conversationid", "conversation", "threadid", "thread", "chatid",
        "traceid",
    ),
    "tenant": (
        "tenantid", "tenant", "customerid", "customer", "organizationid", "organization", "orgid",
        "org", "teamid", "team", "accountid", "account", "budgettenant",
    ),
    "user": (
        "userid", "user", "username", "useremail", "enduser", "enduserid", "principal", "email",
        "budgetprincipal",
    ),
    "agent": ("agentid", "agent", "agentname", "genaiagentname", "budgetagent"),
    "model": (
        "model", "modelname", "modelid", "requestmodel", "genairequestmodel", "responsemodel",
        "genairesponsemodel", "responsebodymodel",
    ),
    "provider": (
        "provider", "providername", "genaiprovidername", "genaisystem", "vendor",
        "customllmprovider",
    ),
    "prompt": (
        "prompttokens", "inputtokens", "contexttokens", "numprompttokens", "tokensin",
        "requesttokens", "genaiusageinputtokens", "tokensinput", "prompttokencount",
    ),
    "completion": (
        "completiontokens", "outputtokens", "generatedtokens", "numgeneratedtokens", "tokensout",
        "responsetokens", "genaiusageoutputtokens", "tokensoutput", "candidatestokencount",
    ),
    "total": ("totaltokens",),
    "cache_read": (
        "cachereadtokens", "cachereadinputtokens", "cachedtokens", "cachedinputtokens",
        "inputcachedtokens", "prompttokensdetailscachedtokens", "inputtokensdetailscachedtokens",
    ),
    "cache_write": (
        "cachewritetokens", "cachecreationinputtokens", "cachecreationtokens",
        "cachewriteinputtokens",
    ),
    "tool": ("toolname", "tool"),
    "cost": ("cost", "costusd", "totalcost", "totalcostusd", "spend", "usd"),
    "calls": (
        "nummodelrequests", "requestcount", "callcount", "numrequests", "numcalls",
        "requests", "calls",
    ),
    "id": ("requestid", "callid", "generationid", "completionid", "responseid", "messageid"),
}  # fmt: skip
CACHE: Final = frozenset({"cache_read", "cache_write"})
COUNTS: Final = frozenset({"prompt", "completion", "total"}) | CACHE
#: Where objects have the usage that a provider gave.
_USAGES: Final = (
    "usage", "response.usage", "message.usage", "response.body.usage", "body.usage",
    "result.usage", "output.usage", "usage_metadata", "usageMetadata", "response.usage_metadata",
    "response.usageMetadata", "data.usage", "completion.usage", "llm_output.token_usage",
)  # fmt: skip


def usage_path(sample: Sequence[Row]) -> str | None:
    """Where the rows have a usage as a provider gave it; None if they have columns instead."""
    for path in _USAGES:
        for row in sample:
            found = loaded(value(row, path))
            if isinstance(found, dict) and shape_of(found) is not None:
                return path
    return None


def columns_of(
    names: Sequence[str], mapped: Mapping[str, str], file: str, *, has_usage: bool
) -> dict[str, str]:
    """The file's column for each field that it has.

    Args:
        names: Its columns.
        mapped: The user's columns by field; they override the usual names.
        file: Its name, for messages.
        has_usage: Whether its rows have a provider's usage, so that no counts are looked for.

    Raises:
        CommandError: It lacks one of the user's columns, or has no tokens.
    """
    check_mapped(names, mapped, file)
    plain = {name: _plain(name) for name in names}
    columns: dict[str, str] = {}
    for wanted, usual in COLUMNS.items():
        if has_usage and wanted in COUNTS:
            continue
        found = [(usual.index(plain[name]), name) for name in names if plain[name] in usual]
        if found:
            columns[wanted] = min(found)[1]
    columns.update(mapped)
    missing = [wanted for wanted in ("prompt", "completion") if wanted not in columns]
    if missing and "tool" not in columns and not has_usage:
        raise CommandError(
            f"{file} has no column that looks like {' and '.join(missing)} tokens; it has "
            f"{_listed(names)}. Name yours: --column {missing[0]}=NAME."
        )
    return columns


def check_mapped(names: Sequence[str], mapped: Mapping[str, str], file: str) -> None:
    """Refuse a column that a file lacks.

    Raises:
        CommandError: It lacks one of the user's columns.
    """
    for name in mapped.values():
        if name not in names and not any(known.startswith(f"{name}.") for known in names):
            raise CommandError(f"{file} has no column {name!r}; it has {_listed(names)}.")


def _plain(name: str) -> str:
    word = re.sub(r"[^a-z0-9]", "", name.lower())
    for start in ("usage", "metadata", "extra", "attributes", "response"):
        if word.startswith(start) and len(word) > len(start):
            word = word.removeprefix(start)
    return word


def _listed(names: Sequence[str]) -> str:
    # Those that may be meant first: a long log has many.
    telling = sorted(names, key=lambda name: "token" not in name.lower())
    few = ", ".join(name[:40] for name in telling[:12])
    return few + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"
