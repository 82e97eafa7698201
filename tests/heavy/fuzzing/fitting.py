"""What an OpenAPI document cannot say: names that this service knows, and fields that go together.

Of the cases that fit the document few fit the service too: without this they would hardly ever reach an engine.
"""

from collections.abc import Mapping
from typing import Any, Final

from assayd.engines import POCKET_CRITIC
from assayd.http.pinning import REWARD_MATCH

SETTINGS: Final = {
    "segment__normalizer": "none",
    "compat__tokenizer": str(POCKET_CRITIC),
    "server__tokenizers": f'["{POCKET_CRITIC}"]',
}
"""Of the service: what calls may leave unsaid, and the tokenizer that they may name."""
RUNNING_TEXTS: Final = ("input", "text", "query")
CHAT: Final = "<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\n"
ANSWER: Final = {"type": "message", "role": "assistant", "content": "you rat"}


def fitted(case: Any) -> None:
    """Change a case of schemathesis in place."""
    if case.headers:
        case.headers.pop(REWARD_MATCH, None)  # no recipe is guessed
    if isinstance(case.body, Mapping):
        case.body = {name: _fitted(name, value) for name, value in case.body.items() if name != "mode"}


def _fitted(name: str, value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 is an integer to JSON Schema, and none to the service
    if name == "tokenizer" and isinstance(value, Mapping):
        return {"name": str(POCKET_CRITIC)}
    if name == "task" and value == "remarks":
        return "math-steps"  # which needs no rubric
    if name == "output" and isinstance(value, list):
        return [*(_fitted("", one) for one in value), ANSWER]
    if name in RUNNING_TEXTS and isinstance(value, str):
        return CHAT + value
    if isinstance(value, list | tuple):
        return [_fitted(name, one) for one in value]
    return _each(value) if isinstance(value, Mapping) else value


def _each(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _fitted(name, value) for name, value in fields.items()}
