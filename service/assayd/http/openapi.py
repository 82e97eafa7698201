"""The OpenAPI document: requests from the pydantic schemas, answers from the msgspec shapes."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..domain.caller import Priority
from .answers import RECIPE, Problem
from .entry import PRIORITY, TIMEOUT_S
from .errors import PROBLEM_JSON
from .pinning import REWARD_MATCH
from .schemas import MAX_TIMEOUT_S

_REF: Final = "#/components/schemas/{}"
_HEADERS: Final = [
    {"name": PRIORITY, "in": "header", "schema": {"type": "string", "enum": list(Priority)}},
    {
        "name": TIMEOUT_S,
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
    },
    {
        "name": REWARD_MATCH,
        "in": "header",
        "description": "Judge by this recipe (its id, a list of ids, or `*`), or answer 412",
        "schema": {"type": "string"},
    },
]
_KEY: Final = "key"
_requests: Final[set[type[BaseModel]]] = set()
_answers: Final[set[type[msgspec.Struct]]] = {Problem}


def documented(bodies: Sequence[type[BaseModel]], answers: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """The arguments that make a route show its requests, its answers and its problems in the document.

    The shapes join the document's components here, where they are declared, and nowhere else.
    """
    _requests.update(bodies)
    _answers.update(answers)
    problem = {"description": "Why the call was refused", "content": {PROBLEM_JSON: _schema([Problem])}}
    return {
        "response_model": None,
        "openapi_extra": {
            "parameters": _HEADERS,
            "requestBody": {"required": True, "content": {"application/json": _schema(bodies)}},
        },
        "responses": {
            200: {
                "description": "One result per rollout",
                "headers": {RECIPE: {"description": "The id of the recipe", "schema": {"type": "string"}}},
                "content": {"application/json": _schema(answers)},
            },
            **dict.fromkeys((400, 401, 403, 408, 412, 413, 422, 429, 503, 504), problem),
        },
    }


def install(app: FastAPI) -> None:
    """Make ``app`` describe itself with our shapes."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = document.setdefault("components", {})
            components["schemas"] = _components()
            components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
            document["security"] = [{_KEY: []}, {}]  # nobody shows a key where there is no tenants file
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _schema(shapes: Sequence[type]) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(shape.__name__)} for shape in shapes]
    return {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}


def _components() -> dict[str, Any]:
    _, requests = models_json_schema(
        [(model, "validation") for model in sorted(_requests, key=_name)], ref_template=_REF.format("{model}")
    )
    _, answers = msgspec.json.schema_components(
        sorted(_answers, key=_name), ref_template=_REF.format("{name}")
    )
    return dict(sorted({**requests["$defs"], **answers}.items()))


def _name(shape: type) -> str:
    return shape.__name__
