"""What a host may bring, as strategies of hypothesis: guards, answers, usages, texts, sources."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal

from hypothesis import strategies as st

from otel_budget import Allow, BudgetLevel, Deny, FlatRates, SessionInfo, SoftLimit, TokenUsage
from support import hostile
from support.gateway_usages import GATEWAY_USAGES
from support.provider_usages import PROVIDER_USAGES

# -- values --------------------------------------------------------------------------------
TEXTS = st.one_of(
    st.sampled_from(["", "acme", "gpt-4o", "anthropic", "\0", "é" * 5_000, "x" * 257]),
    st.sampled_from([hostile.LONE, hostile.LONE * 2_000]),
    st.text(st.characters(), max_size=12),
    st.sampled_from(["é" * 5_000, hostile.LONE, "acme"]).map(hostile.LyingText),
)
NUMBERS = st.one_of(
    st.integers(-3, 2**70),
    st.sampled_from([10**400, -(10**400), 2**63, 2**63 - 1, True, 1j, 1e308, 5e-324]),
    st.floats(),
    st.decimals(),
    st.sampled_from(["sNaN", "1e999999", "-0.5"]).map(lambda text: Decimal(text)),
    st.fractions(),
    st.builds(
        hostile.LyingNumber,
        st.one_of(st.floats(), st.just("1")),
        st.sampled_from([1, -1, 10**400, 1.5]),
        st.sampled_from(["1", hostile.LONE, 7]),
    ),
)
HOSTILE = st.one_of(
    st.builds(
        hostile.raising,
        st.sampled_from(hostile.BASES),
        st.sampled_from(hostile.METHODS),
        st.sampled_from(hostile.ERRORS),
    ),
    st.builds(hostile.claiming, st.sampled_from(hostile.CLAIMS)),
)
JSON = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
ANYTHING = st.one_of(JSON, HOSTILE)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly `strategy`; otherwise anything."""
    return st.one_of(strategy, strategy, ANYTHING)


# -- answers -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Answer:
    """What a guard does when it is asked.

    Attributes:
        value: What it returns, or makes what it raises.
        decision: What is certain to be counted for a check; None where that depends.
        raises: Whether it raises.
    """

    value: Any
    decision: str | None = None
    raises: bool = False


def _certain(word: str) -> Any:
    return lambda value: Answer(value, word)


CLEAN = st.sampled_from(["usd", "é", "x" * 3_000])
AMOUNTS = st.floats(0, 1e9)
#: Optional, so that anything may stand there.
SOFT_DETAILS = {
    "reserved": maybe(NUMBERS),
    "window": maybe(TEXTS),
    "resets_in": maybe(NUMBERS),
}
DENY_DETAILS = SOFT_DETAILS | {
    "consumed": maybe(NUMBERS),
    "limit": maybe(NUMBERS),
    "cause": maybe(st.sampled_from(["spent", "policy", "greed"])),
}
GOOD = st.one_of(
    st.sampled_from([None, Allow(), {"decision": "allow"}]).map(_certain("allow")),
    st.one_of(
        st.builds(SoftLimit, resource=CLEAN, consumed=AMOUNTS, limit=AMOUNTS, message=CLEAN),
        st.builds(SoftLimit, resource=CLEAN, consumed=AMOUNTS, limit=AMOUNTS, **SOFT_DETAILS),
        st.builds(
            SoftLimit.model_construct,
            resource=CLEAN,
            consumed=st.sampled_from([Decimal("1.5"), 2**70]),
            limit=AMOUNTS,
            message=st.none(),
            **SOFT_DETAILS,
        ),
        st.fixed_dictionaries(
            {"decision": st.just("soft"), "resource": CLEAN, "consumed": AMOUNTS, "limit": AMOUNTS},
            optional={"message": CLEAN, "more": JSON, **SOFT_DETAILS},
        ),
    ).map(_certain("soft_limit")),
    st.one_of(
        st.builds(Deny, resource=CLEAN, reason=CLEAN),
        st.builds(Deny, resource=CLEAN, reason=CLEAN, **DENY_DETAILS),
        st.fixed_dictionaries(
            {"decision": st.just("deny"), "resource": CLEAN, "reason": CLEAN},
            optional={**DENY_DETAILS, "more": JSON},
        ),
    ).map(_certain("deny")),
)
FAILING = st.sampled_from(hostile.FAILURES).map(lambda make: Answer(make, raises=True))
STRANGE = st.one_of(
    ANYTHING,
    st.builds(Deny.model_construct, resource=maybe(TEXTS), reason=maybe(TEXTS)),
    st.builds(
        SoftLimit.model_construct,
        resource=maybe(TEXTS),
        consumed=maybe(NUMBERS),
        limit=maybe(NUMBERS),
        message=maybe(TEXTS),
    ),
    st.builds(
        lambda consumed: hostile.ChangingLimit.model_construct(
            resource="usd", consumed=consumed, limit=2.0, message=None
        ),
        st.lists(NUMBERS, max_size=3),
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "decision": maybe(st.sampled_from(["allow", "soft", "deny", "DENY"])),
            "resource": maybe(TEXTS),
            "reason": maybe(TEXTS),
            "consumed": maybe(NUMBERS),
            "limit": maybe(NUMBERS),
            "message": maybe(TEXTS),
        },
    ),
).map(Answer)
ANSWERS = st.one_of(GOOD, GOOD, STRANGE, STRANGE, FAILING)


def tells_details(value: Any) -> bool:
    """Whether an answer tells any of the optional details, or told one that could not be read."""
    cls = type(value)
    if issubclass(cls, SoftLimit | Deny) and value.unread_details:
        return True
    fields = value if cls is dict else vars(value) if issubclass(cls, SoftLimit | Deny) else {}
    return any(fields.get(name) is not None for name in DENY_DETAILS)


# -- usages --------------------------------------------------------------------------------
SHAPES = [shape.raw for shape in (*PROVIDER_USAGES, *GATEWAY_USAGES)]


def _mutated(raw: dict[str, Any], position: int, value: Any, as_object: bool) -> Any:
    """`raw` with the value of one of its fields, at whatever depth, replaced."""
    raw = copy.deepcopy(raw)
    places = [(raw, key) for key in raw]
    places += [(part, key) for part in raw.values() if isinstance(part, dict) for key in part]
    inside, key = places[position % len(places)]
    inside[key] = value
    return SimpleNamespace(**raw) if as_object else raw


COUNTS = st.integers(0, 10**6)
USAGES = st.one_of(
    st.none(),
    st.sampled_from(SHAPES),
    st.builds(_mutated, st.sampled_from(SHAPES), st.integers(0, 20), ANYTHING, st.booleans()),
    st.builds(TokenUsage, prompt_tokens=COUNTS, completion_tokens=COUNTS, total_tokens=COUNTS),
    st.builds(
        TokenUsage.model_construct,
        **{field: maybe(NUMBERS) for field in TokenUsage.model_fields},
    ),
    ANYTHING,
)

# -- who and what --------------------------------------------------------------------------
INFO_FIELDS = ("tenant", "principal", "agent", "correlation_id", "model", "provider")
INFOS = st.builds(SessionInfo, **{field: maybe(TEXTS) for field in INFO_FIELDS})
CALL_INFOS = st.fixed_dictionaries(
    {}, optional={"cost_usd": maybe(NUMBERS), **{field: maybe(TEXTS) for field in INFO_FIELDS}}
)


class Source:
    """A function of the host that answers, or raises, the next of its values."""

    def __init__(self, values: list[Answer]) -> None:
        self._values, self._next = values, 0

    def __call__(self, *_: Any, **__: Any) -> Any:
        value = self._values[self._next % len(self._values)]
        self._next += 1
        if value.raises:
            raise RuntimeError("no answer")
        return value.value

    cost_usd = __call__


def sources(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Source]:
    """Functions that answer `values` or anything else, or raise."""
    answers = st.one_of(maybe(values).map(Answer), st.just(Answer(None, raises=True)))
    return st.lists(answers, min_size=1, max_size=3).map(Source)


LEVELS = st.builds(
    BudgetLevel,
    resource=TEXTS.map(str.__str__),
    consumed=st.floats(allow_nan=False, allow_infinity=False),
    limit=st.one_of(st.none(), st.floats(allow_nan=False)),
    tenant=st.sampled_from(["a", "b", None]),
)
LEVEL_DICTS = st.fixed_dictionaries(
    {}, optional={"resource": maybe(TEXTS), "consumed": maybe(NUMBERS), "limit": maybe(NUMBERS)}
)

# -- a scenario ----------------------------------------------------------------------------
Way = Literal["bare", "nested", "twice", "gate", "gate async", "a3s"]


@dataclass(frozen=True, repr=False)
class Scenario:
    """A guard, how it is asked, and pools from which the calls of a batch are drawn by `seed`."""

    asynchronous: bool
    way: Way
    fail: Literal["open", "closed"]
    options: dict[str, Any]
    stacktraces: bool
    levels: Source | None
    answers: list[Answer]
    usages: list[Any]
    sessions: list[Any]
    estimates: list[Any]
    tools: list[Any]
    call_infos: list[dict[str, Any]]
    seed: int

    def __repr__(self) -> str:  # the values' own may raise
        parts = ((name, value) for name, value in vars(self).items())
        return f"Scenario({', '.join(f'{name}={shown(value)}' for name, value in parts)})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """What hypothesis prints, which would ask each value for its own, and fail with that."""
        printer.text(repr(self))


def shown(value: Any) -> str:
    """`value` for people, whatever it does when it is printed."""
    try:
        if type(value) in {list, tuple}:
            return f"[{', '.join(map(shown, value))}]"
        if type(value) is dict:
            return f"{{{', '.join(f'{shown(k)}: {shown(v)}' for k, v in value.items())}}}"
        return ascii(value)[:200]
    except BaseException as error:
        return f"<{type(value).__mro__[:2]}: {type(error).__name__}>"


def pools(values: st.SearchStrategy[Any], largest: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=largest)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Batches of calls of one guard."""
    asynchronous = draw(st.booleans())
    ways = ["bare", "nested", "twice", "gate async", "a3s"]
    return Scenario(
        asynchronous=asynchronous,
        way=draw(st.sampled_from(ways if asynchronous else [*ways, "gate"])),  # type: ignore[arg-type]
        fail=draw(st.sampled_from(["closed", "open"])),
        options={
            "session_info": draw(st.one_of(st.none(), INFOS, sources(INFOS))),
            "prices": draw(st.one_of(st.none(), st.just(FlatRates(3, 15)), sources(NUMBERS))),
            "metric_labels": draw(st.sets(st.sampled_from(["tenant", "agent", "principal"]))),
            "max_label_sets": draw(st.integers(1, 4)),
            "name": draw(st.one_of(st.none(), TEXTS)),
            "events": draw(st.sampled_from(["both", "span", "logs"])),
            "spans": draw(st.sampled_from(["all", "hits"])),
        },
        stacktraces=draw(st.booleans()),
        levels=draw(
            st.one_of(
                st.none(), st.none(), sources(st.lists(st.one_of(LEVELS, LEVEL_DICTS, ANYTHING)))
            )
        ),
        answers=draw(pools(ANSWERS, 5)),
        usages=draw(pools(USAGES)),
        sessions=draw(pools(maybe(TEXTS))),
        estimates=draw(pools(maybe(NUMBERS))),
        tools=draw(pools(maybe(TEXTS))),
        call_infos=draw(pools(CALL_INFOS)),
        seed=draw(st.integers(0, 2**16)),
    )
