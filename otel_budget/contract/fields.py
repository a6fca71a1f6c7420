"""Field types and the base class of the contract's types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
#: A sum of money.
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
#: Any comparison with NaN is false, so this bound refuses NaN and nothing else.
NotNan = Annotated[float, Field(ge=float("-inf"))]


class Frozen(BaseModel):
    """A value of the contract: immutable, and without fields that are not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")
