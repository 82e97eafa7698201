"""The requests of ``cases.json``, sent to a scripted service first: what it asks and hears is what is to be learned."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from transformers import PreTrainedTokenizerFast

from assayd.domain.rollout import Message, Role

from .models import letter_tokenizer

CASES: Final[list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("cases.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Case:
    """A request with one rollout, and what the script said that it comes to."""

    name: str
    route: str
    body: dict[str, Any]
    case: Mapping[str, Any]
    scripted: Any


@dataclass(frozen=True)
class Taught:
    """The language model, the folder of the letter tokenizer, and the cases with what the script said."""

    model: str
    letters: str
    cases: tuple[Case, ...]


class Recorder:
    """Sends cases to a scripted service and keeps what its critic was asked and said."""

    def __init__(self, url: str, critic: Any) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._critic = critic
        self.lessons: list[tuple[tuple[Message, ...], str]] = []

    def __call__(self, case: Mapping[str, Any], body: dict[str, Any]) -> Case:
        """One case: sent, and what it came to."""
        critic = self._critic
        critic.__init__()
        says = case.get("likely", [])
        replies = case.get("replies", [["", said] for said in says])
        critic.reply = lambda prompt: next(reply for marker, reply in replies if marker in prompt)
        critic.likely = {word: count / len(says) for word, count in Counter(says).items()}
        response = self._client.post(case["route"], json=body)
        assert response.status_code == 200, response.text
        if not case.get("unasked"):
            for asked, prompt in zip(critic.bodies, critic.prompts, strict=True):
                turns = tuple(Message(Role(turn["role"]), turn["content"]) for turn in asked["messages"])
                taught = [(turns, said) for said in says or [critic.reply(prompt)]]
                self.lessons += [lesson for lesson in taught if says or lesson not in self.lessons]
        return Case(case["name"], case["route"], body, case, response.json())


def body_of(case: Mapping[str, Any], model: str, letters: str) -> dict[str, Any]:
    """The request of a case, its completion sent as the case says."""
    text, sent = case["completion"] * case.get("repeat", 1), case["sent"]
    tokenizer = letter_tokenizer() if sent == "foreign" else PreTrainedTokenizerFast.from_pretrained(model)
    if sent == "text":
        completion: dict[str, Any] = {"text": text}
    elif sent == "offsets":
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        completion = {"text": text, "offsets": encoded["offset_mapping"]}
    else:
        completion = {"token_ids": tokenizer(text, add_special_tokens=False)["input_ids"]}
    by_ids = "token_ids" in completion
    named = {"tokenizer": {"name": letters if sent == "foreign" else model}} if by_ids else {}
    rollout = {"prompt": case["prompt"], "completion": completion, **case.get("rollout", {})}
    return {**case["request"], **named, "rollouts": [rollout], "timeout_s": 120}
