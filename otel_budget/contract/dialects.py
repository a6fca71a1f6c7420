"""The two dialects of guards, and how they convert to and from the contract's types.

The typed dialect uses the decision classes and `TokenUsage`; the dict dialect is that of the
a3s-code Python SDK. Each answer is read on its own: an instance of a decision class is typed,
anything else is the dict dialect, and what the a3s-code runtime would reject is `Malformed`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from otel_budget.contract import (
    Allow,
    BudgetDecision,
    BudgetGuard,
    Deny,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.contract.decisions import detail_names
from otel_budget.contract.hit_details import look_up, read_details
from otel_budget.contract.raw_usage import description, keys
from otel_budget.contract.usage_reading import usage_fields
from otel_budget.contract.usage_shapes import shape_of
from otel_budget.sanitize import finite, shielded

Dialect = Literal["typed", "dict"]
_Decision = TypeVar("_Decision", SoftLimit, Deny)


@dataclass(frozen=True, slots=True)
class Malformed:
    """An answer or a usage that cannot be read, and why."""

    why: str


_ALLOW: Final = Allow()
_USAGE_FIELDS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)
_REQUIRED: Final = _USAGE_FIELDS[:3]
_USAGE_KEYS: Final = frozenset(_USAGE_FIELDS)


# -- decisions -----------------------------------------------------------------------------
def is_typed(answer: Any) -> bool:
    """Whether `answer` is an instance of a decision class (anything else is the dict dialect)."""
    return issubclass(type(answer), BudgetDecision)  # its __class__ may raise


def read_decision(answer: Any) -> BudgetDecision | Malformed:
    """The decision that the runtime reads from `answer`."""
    if answer is None:
        return _ALLOW
    try:
        return _read_dict(answer) if isinstance(answer, dict) else _read_typed(answer)
    except shielded() as error:  # a look-up or a comparison may run any code
        return Malformed(f"an answer that raises {type(error).__name__} when it is read")


def _read_typed(answer: Any) -> BudgetDecision | Malformed:
    if type(answer) is Allow:  # mostly, and faster than isinstance()
        return answer
    if isinstance(answer, Allow):
        return answer if issubclass(type(answer), Allow) else _ALLOW
    # model_construct() and model_copy() check nothing.
    if isinstance(answer, Deny):
        denial = _settled(answer, Deny)
        if not (_is_text(denial.resource) and _is_text(denial.reason)):
            return Malformed("a denial whose resource or reason is not text")
        return _with_checked_details(denial)
    if isinstance(answer, SoftLimit):
        soft = _settled(answer, SoftLimit)
        consumed, limit = finite(soft.consumed), finite(soft.limit)
        if consumed is None or limit is None:
            return Malformed("a soft limit whose consumed or limit is not a finite number")
        if not (_is_text(soft.resource) and (soft.message is None or _is_text(soft.message))):
            return Malformed("a soft limit whose resource or message is not text")
        if not type(soft.consumed) is type(soft.limit) is float:
            # A Decimal, or an int beyond int64: from here on there are only floats.
            soft = SoftLimit.model_copy(soft, update={"consumed": consumed, "limit": limit})
        return _with_checked_details(soft)
    if inspect.isawaitable(answer):
        return Malformed("an awaitable: make the method `async def`")
    return Malformed(f"an answer of type {type(answer).__name__}")


def _with_checked_details(hit: _Decision) -> _Decision:
    """`hit` with details that can be read, or None, even where nothing has checked them."""
    values = look_up(detail_names(type(hit)), lambda name: getattr(hit, name, None))
    details, unread = read_details(values)
    if all(details[name] is values[name] for name in values):
        return hit
    checked = BaseModel.model_copy(hit, update=details)
    checked._unread = hit.unread_details + unread
    return checked


def _settled(answer: _Decision, cls: type[_Decision]) -> _Decision:
    """`answer`, or a `cls` with its fields, read once, where they may change: it computes them."""
    own = type(answer)
    if own is cls or (issubclass(own, cls) and _stores(answer, cls)):
        return answer
    details = look_up(detail_names(cls), lambda name: getattr(answer, name, None))
    required = {name: getattr(answer, name) for name in cls.model_fields if name not in details}
    return cls.model_construct(**required, **details)


def _stores(answer: _Decision, cls: type[_Decision]) -> bool:
    """Whether the fields that `cls` has are read from the answer's `__dict__`, and nowhere else."""
    own, names = type(answer), cls.model_fields.keys()
    return (
        own.__getattribute__ is object.__getattribute__
        and names <= vars(answer).keys()
        and not any(hasattr(own, name) for name in names)
    )


def _read_dict(answer: dict[Any, Any]) -> BudgetDecision | Malformed:
    word = answer.get("decision")
    if word == "allow":
        return _ALLOW
    if word == "soft":
        resource, message = answer.get("resource"), answer.get("message")
        consumed, limit = finite(answer.get("consumed")), finite(answer.get("limit"))
        if not _is_text(resource):
            return Malformed("a soft limit without resource")
        if consumed is None or limit is None:
            return Malformed("a soft limit whose consumed or limit is not a finite number")
        if message is not None and not _is_text(message):
            return Malformed("a soft limit whose message is not text")
        details = look_up(detail_names(SoftLimit), answer.get)
        return SoftLimit(
            resource=resource, consumed=consumed, limit=limit, message=message, **details
        )
    if word == "deny":
        resource, reason = answer.get("resource"), answer.get("reason")
        if not _is_text(resource):
            return Malformed("a denial without resource")
        if not _is_text(reason):
            return Malformed("a denial without reason")
        details = look_up(detail_names(Deny), answer.get)
        return Deny(resource=resource, reason=reason, **details)
    return Malformed("no decision" if word is None else "an unknown decision word")


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether the runtime, whose strings are UTF-8, accepts `value` as text."""
    if not isinstance(value, str):
        return False
    try:
        str.encode(value, "utf-8")  # a subclass may have an encode() of its own
    except UnicodeEncodeError:
        return False
    return True


def print_decision(decision: BudgetDecision) -> dict[str, Any]:
    """`decision` in the dict dialect."""
    match decision:
        case Allow():
            return {"decision": "allow"}
        case SoftLimit():
            printed: dict[str, Any] = {
                "decision": "soft",
                "resource": decision.resource,
                "consumed": decision.consumed,
                "limit": decision.limit,
            }
            if decision.message is not None:
                printed["message"] = decision.message
            return printed
        case Deny():
            return {"decision": "deny", "resource": decision.resource, "reason": decision.reason}


# -- usage ---------------------------------------------------------------------------------
def read_usage(usage: Any) -> TokenUsage | Malformed:
    """`usage` as a `TokenUsage`: typed, in the dict dialect, or as a provider gave it.

    A mapping is in the dict dialect if it has that dialect's keys and no others that name tokens.
    """
    try:
        if isinstance(usage, PrintedUsage):
            usage = usage.usage
        if type(usage) is TokenUsage or isinstance(usage, TokenUsage):  # the former is faster
            # model_construct() and model_copy() check nothing.
            if are_counts(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.total_tokens,
                usage.cache_read_tokens or None,
                usage.cache_write_tokens or None,
            ):
                return usage
            return Malformed("a usage whose counts are not whole numbers of zero or more")
        if isinstance(usage, Mapping) and _is_dict_dialect(usage):
            return TokenUsage.model_validate({key: usage.get(key) for key in _USAGE_FIELDS})
        shape = None if usage is None else shape_of(usage)
        if shape is None:
            return Malformed(f"a usage {description(usage)}")
        return TokenUsage.model_validate(usage_fields(usage, shape))
    except ValidationError as error:
        fields = ", ".join(str(part["loc"][0]) for part in error.errors(include_url=False))
        return Malformed(f"a usage {description(usage)}, whose {fields} cannot be read")
    except shielded() as error:
        return Malformed(f"a usage that raises {type(error).__name__} when it is read")


def are_counts(prompt: Any, completion: Any, total: Any, cached: Any, written: Any) -> bool:
    """Whether these are whole numbers of zero or more; the last two may be None."""
    return (
        type(prompt) is type(completion) is type(total) is int
        and prompt >= 0
        and completion >= 0
        and total >= 0
        and (cached is None or (type(cached) is int and cached >= 0))
        and (written is None or (type(written) is int and written >= 0))
    )


def _is_dict_dialect(usage: Mapping[Any, Any]) -> bool:
    if not all(name in usage for name in _REQUIRED):
        return False
    return usage.keys() <= _USAGE_KEYS or not any(
        "token" in key.lower() and key not in _USAGE_KEYS for key in keys(usage)
    )


def usage_of(usage: Any) -> TokenUsage:
    """`usage`, of either dialect, as the contract's type.

    Raises:
        ValueError: It cannot be read.
    """
    read = read_usage(usage)
    if isinstance(read, Malformed):
        raise ValueError(f"usage cannot be read: it must be a TokenUsage, not {read.why}")
    return read


class PrintedUsage(dict[str, int | None]):
    """A usage in the dict dialect that keeps its cache accounting, which has no key there.

    Attributes:
        usage: The original.
    """

    def __init__(self, usage: TokenUsage) -> None:
        super().__init__({field: getattr(usage, field) for field in _USAGE_FIELDS})
        self.usage = usage


def print_usage(usage: TokenUsage) -> PrintedUsage:
    """`usage` in the dict dialect: all five keys, the cache counts as int or None."""
    return PrintedUsage(usage)


class UsageDialect:
    """The dialect in which usage is reported to a guard.

    Args:
        guard: The guard. Its base class or its annotation of ``usage`` decides.
        default: The dialect of any other guard until it has answered a check.
    """

    def __init__(self, guard: Any, default: Dialect) -> None:
        self._declared = _declared_dialect(guard)
        self._answered: Dialect = default

    def learn(self, answer: Any) -> None:
        """Use the dialect of `answer` from now on, unless the guard declares one."""
        self._answered = "typed" if is_typed(answer) else "dict"

    def usage(self, usage: Any) -> Any:
        """`usage` in this dialect; one that cannot be read is returned unchanged."""
        cls = type(usage)  # not isinstance(): a value's __class__ may raise
        if (self._declared or self._answered) == "dict":
            return print_usage(usage) if issubclass(cls, TokenUsage) else usage
        read = read_usage(usage) if issubclass(cls, Mapping) else usage
        return usage if type(read) is Malformed else read


def _declared_dialect(guard: Any) -> Dialect | None:
    """The dialect that the guard's base class or its annotation of ``usage`` declares."""
    if isinstance(guard, BudgetGuard | SyncBudgetGuard):
        return "typed"
    # From the class inside: an instrumented guard's own methods take any arguments.
    method = getattr(guard.__class__, "record_after_llm", None)
    annotations = dict(getattr(method, "__annotations__", {}))
    annotations.pop("return", None)
    declared = " ".join(str(annotation) for annotation in annotations.values())
    if TokenUsage.__name__ in declared:
        return "typed"
    return "dict" if any(word in declared for word in ("dict", "Mapping", "Dict")) else None
