"""What does not fit in a request, told so that it can be mended: pydantic's faults beside the shape asked for."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_UNKNOWN: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING: Final = frozenset({"missing", "missing_argument"})
_NO_OBJECT: Final = frozenset({"model_type", "dataclass_type"})
_PLACES: Final[Mapping[Location, str]] = {
    (): "beside `rollouts`",
    ("options",): "into `options`",
    ("rollouts", 0): "into each of `rollouts`",
    ("rollouts", 0, "completion"): "into `completion`",
}
"""Where a field may have been meant to stand, in the shapes of the judging routes."""
_AT_MOST: Final = 12
"""So many names are listed; of more, `/docs` tells."""
_EXPLAINED: Final = 20
"""So many faults are held against the shape: a body may have any number of them."""


def faults_of(found: Sequence[ErrorDetails], shape: type[BaseModel] | None) -> list[dict[str, str]]:
    """Pydantic's faults, in its order, each with ``pointer`` (RFC 6901) and ``detail``; ``shape`` names what fits."""
    around = {fault["loc"][:depth] for fault in found for depth in range(len(fault["loc"]))}
    # A list whose items do not fit is called empty as well.
    told = [fault for fault in found if not (fault["type"] == "too_short" and fault["loc"] in around)]
    return [
        {
            "pointer": _pointer(fault["loc"]),
            "detail": _detail(fault["type"], fault["loc"], shape if place < _EXPLAINED else None)
            or fault["msg"],
        }
        for place, fault in enumerate(told)
    ]


def _detail(kind: str, location: Location, shape: type[BaseModel] | None) -> str | None:
    """The fault in our words; None where pydantic's will do."""
    if kind in _MISSING:
        return f"`{location[-1]}` is missing" if location else None
    if shape is None:
        return "there is no such field" if kind in _UNKNOWN else None
    if kind in _UNKNOWN:
        return f"there is no field `{location[-1]}` here{_instead(str(location[-1]), location[:-1], shape)}"
    if kind in _NO_OBJECT and (names := _names(shape, location)):
        return f"should be an object, with {_listed(names)}"
    return None


def _instead(name: str, where: Location, shape: type[BaseModel]) -> str:
    for place, said in _PLACES.items():
        if name in _names(shape, place):
            return f": it belongs {said}"
    names = _names(shape, where)
    if near := get_close_matches(name, names, n=1, cutoff=0.75):
        return f": did you mean `{near[0]}`?"
    return f": it takes {_listed(names)}" if names else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_AT_MOST])
    return shown if len(names) <= _AT_MOST else f"{shown} and {len(names) - _AT_MOST} more (/docs lists them)"


def _names(shape: type[BaseModel], location: Location) -> list[str]:
    """The fields of what stands at ``location``; none where that is no object, or goes through a union's branch."""
    schema = _schema(shape)
    places = list(_branches(schema, schema))
    for part in location:
        inner = [found for place in places if (found := _inside(place, part)) is not None]
        places = [branch for found in inner for branch in _branches(found, schema)]
    return list(dict.fromkeys(name for place in places for name in place.get("properties", {})))


def _inside(place: Mapping[str, Any], part: int | str) -> Mapping[str, Any] | None:
    found = place.get("items") if isinstance(part, int) else place.get("properties", {}).get(part)
    return found if isinstance(found, Mapping) else None


def _branches(place: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """``place`` itself, behind its reference, or each of its alternatives."""
    if "$ref" in place:
        yield from _branches(schema["$defs"][place["$ref"].removeprefix("#/$defs/")], schema)
    elif alternatives := place.get("anyOf") or place.get("oneOf") or place.get("allOf"):
        for alternative in alternatives:
            yield from _branches(alternative, schema)
    else:
        yield place


@cache
def _schema(shape: type[BaseModel]) -> Mapping[str, Any]:
    return shape.model_json_schema()


def _pointer(location: Location) -> str:
    """A JSON pointer to the offending field."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
