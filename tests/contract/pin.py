"""Rewrites the pinned contract: ``make openapi``. The diff is what callers will notice."""

import json
from pathlib import Path

from assayd.app import create_app
from assayd.settings import Settings

PINNED = Path(__file__).with_name("openapi.json")


def current() -> str:
    """The OpenAPI document of this checkout, as it is pinned."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PINNED.write_text(current(), encoding="utf-8")
