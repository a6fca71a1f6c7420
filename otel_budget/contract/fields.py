"""What the fields of the contract's types may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
#: A comparison with NaN is false, so this bound refuses it and nothing else.
NotNan = Annotated[float, Field(ge=float("-inf"))]


class Frozen(BaseModel):
    """A value of the contract: it does not change, and holds what it names alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
