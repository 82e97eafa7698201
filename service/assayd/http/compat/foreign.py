"""What foreign requests and answers have in common."""

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ...domain.failure import FailureKind, Rejected
from ...domain.rollout import Role
from ..answers import RECIPE
from ..schemas import WireMessage
from .paying import Bill


class Foreign(BaseModel):
    """Base of every foreign request: fields that do not matter here are passed over."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Part(Foreign):
    """One part of a message's content."""

    type: str = "text"
    text: str | None = None


class ForeignMessage(Foreign):
    """One turn as OpenAI's interfaces write it; `developer` is another word for `system`."""

    role: str = Field(json_schema_extra={"enum": [*Role, "developer"]})
    content: str | tuple[Part, ...] | None = None

    def message(self, pointer: str) -> WireMessage:
        """The same turn as Assay's own routes take it; raises ``Rejected`` for what is no text."""
        role = "system" if self.role == "developer" else self.role
        if role not in tuple(Role):
            raise Rejected(FailureKind.INVALID, f"nobody here is called {role!r}", pointer=f"{pointer}/role")
        return WireMessage(role=Role(role), content=text_of(self.content, f"{pointer}/content"))


def text_of(content: str | Sequence[Part] | None, pointer: str) -> str:
    """A message's content as one text; raises ``Rejected`` for images and the like."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.text is None:
            raise Rejected(FailureKind.INVALID, f"a part of type {part.type!r} is no text", pointer=pointer)
    return "".join(part.text or "" for part in content)


def refuse_option(name: str, value: object, why: str) -> None:
    """Refuse an option of the foreign format that would change the answer and is not served."""
    if value:
        raise Rejected(FailureKind.INVALID, f"{name} is not served here: {why}", pointer=f"/{name}")


def answer(shape: msgspec.Struct | dict[str, Any] | list[Any], bill: Bill) -> Response:
    """The answer in the foreign format, and the recipe beside it."""
    headers = {} if bill.recipe is None else {RECIPE: bill.recipe}
    return Response(msgspec.json.encode(shape), 200, headers, media_type="application/json")
