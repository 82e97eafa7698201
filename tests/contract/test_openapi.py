"""The wire is pinned: a change of shape is a change of a file under review."""

import json
from pathlib import Path

from assayd.app import create_app
from assayd.settings import Settings


def test_the_contract_is_the_pinned_one() -> None:
    """The OpenAPI document equals the committed one; `make openapi` rewrites it."""
    pinned = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
    assert create_app(Settings()).openapi() == pinned


def test_every_reference_resolves() -> None:
    """No schema points at one that is not there."""
    document = create_app(Settings()).openapi()
    names = set(document["components"]["schemas"])

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"].rsplit("/", 1)[1]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(item) for item in value.values()))
        if isinstance(value, list):
            return set().union(*(references(item) for item in value))
        return set()

    assert references(document) <= names
