"""The base of every section of the settings, and common types."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ModalityName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Rate = Annotated[float, Field(gt=0, le=1000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]


class Section(BaseModel):
    """A frozen group of settings that accepts no unknown key and no value of the wrong type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
