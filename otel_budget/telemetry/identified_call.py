"""Whose call it is: its session and `SessionInfo`, and the labels and attributes of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_budget import semconv
from otel_budget.contract.session_info import SessionInfo
from otel_budget.sanitize import text
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.sessions import SessionKey
from otel_budget.telemetry.settings import Destination, GuardSettings, Identity


class IdentifiedCall:
    """One call of a guard, known by its arguments.

    Attributes:
        settings: The guard's.
        destination: Where the telemetry of the call goes.
        hub: The hub there.
        session: The session's id.
        info: Who the call is for.
    """

    __slots__ = (
        "_args",
        "_identity",
        "_kwargs",
        "destination",
        "hub",
        "info",
        "session",
        "settings",
    )

    settings: GuardSettings
    destination: Destination
    hub: Hub
    session: str
    info: SessionInfo
    _args: tuple[Any, ...]
    _kwargs: Mapping[str, Any]
    _identity: Identity | None

    def argument(self, position: int, keyword: str) -> Any:
        """An argument of the call, however it was passed."""
        args = self._args
        return args[position] if len(args) > position else self._kwargs.get(keyword)

    def identify(self) -> None:
        """Find the call's session and `SessionInfo`."""
        args = self._args
        session_id = args[0] if args else self._kwargs.get("session_id")
        self.session = text(session_id)
        self.info = self.settings.info_of(session_id, self.hub)
        self._identity = None

    @property
    def session_key(self) -> SessionKey:
        """The session, within its tracer provider."""
        return (self.destination.namespace, self.session)

    @property
    def identity(self) -> Identity:
        """Labels and attributes of the call's `SessionInfo`."""
        identity, tallies = self._identity, self.hub.tallies
        if identity is None or identity.tallies is not tallies:  # a fork renews the tallies
            identity = self._identity = self.settings.identity(self.info, tallies)
        return identity

    def identity_attributes(self) -> dict[str, Any]:
        """The attributes of the call's `SessionInfo`, and its session id."""
        return {**self.identity.attributes, semconv.SESSION_ID: self.session}
