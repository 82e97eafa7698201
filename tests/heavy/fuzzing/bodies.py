"""Bodies that nobody means well by: valid ones, and what becomes of them at random places."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from assayd.engines import POCKET_CRITIC

Json = Any
Place = tuple[int | str, ...]

LONG: Final = (10_000_000, 900_000)
"""In bytes: more than the service looks at, and nearly as much."""
DEEP: Final = 100_000

PRIVATE: Final = "a\u0301 😀 don't <|im_end|> </s>"
SEEDS: Final[dict[str, list[Json]]] = {
    "/score/token": [
        {
            "task": "relc-toxicity",
            "rollouts": [
                {
                    "id": "r1",
                    "prompt": [{"role": "user", "content": "hi"}],
                    "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]], "token_ids": [5, 6]},
                    "extrinsic_reward": 0.5,
                    "mask": [1, 0],
                }
            ],
            "options": {},
            "timeout_s": 5,
        },
        {
            "task": "math-steps",
            "tokenizer": {"name": str(POCKET_CRITIC)},
            "rollouts": [{"prompt": "1+1?", "completion": {"token_ids": [5, 6, 7]}, "mask": [1, 1, 1]}],
        },
        {
            "method": "grm",
            "rollouts": [
                {
                    "prompt": "1+1",
                    "completion": {"text": "3"},
                    "reference": "The answer is 2.",
                    "correct": False,
                }
            ],
        },
    ],
    "/score/segment": [
        {
            "rollouts": [
                {"prompt": "p", "completion": {"text": PRIVATE}, "entropies": None},
                {
                    "completion": {"text": "abc", "offsets": [[0, 1], [1, 2], [2, 3]]},
                    "entropies": [0.1, 2.5, 0.0],
                    "extrinsic_reward": 1.0,
                },
            ],
            "options": {"normalizer": "none"},
            "extrinsic_normalizer": {"count": 3, "mean": 0.1, "variance": 0.5},
        }
    ],
    "/score/sequence": [
        {
            "rollouts": [
                {
                    "prompt": "p",
                    "completion": {"text": "one"},
                    "value": 0.2,
                    "group": "g",
                    "extrinsic_reward": 1.0,
                },
                {"prompt": "p", "completion": {"text": "two"}, "value": -0.2, "group": "g"},
            ],
            "options": {"value_source": "provided"},
        }
    ],
    "/rewrite": [
        {
            "rollouts": [
                {
                    "prompt": "What is 2+2?",
                    "completion": {"text": "It is 5.\nThe answer is 5."},
                    "reference": "It is 4.\nThe answer is 4.",
                    "correct": False,
                }
            ],
            "options": {},
        }
    ],
    "/get_reward": [{"query": ["A?\nNo.<|im_end|>"], "prompts": ["A?\n"], "labels": [None]}],
    "/remote_rm": [{"prompt": "A?", "response": "No.", "label": None}],
    "/classify": [
        {"model": "m", "input": "<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>"}
    ],
    "/score": [{"model": "m", "text_1": "A?", "text_2": ["No.", "Yes."]}],
    "/pooling": [{"model": "m", "input": ["<|im_start|>assistant\nNo.<|im_end|>"], "task": "token_classify"}],
}
"""Calls that are answered."""

SURROGATE: Final = "\ud800"
"""Written as JSON's escape; no text holds it."""
ODD_NUMBERS: Final = (
    "1e999",
    "-1e999",
    "1e308",
    "-1.7976931348623157e308",
    "5e-324",
    "-0.0",
    "NaN",
    "Infinity",
    "9007199254740993",
    "1" + "0" * 30,
    "1" + "0" * 5000,
    "18446744073709551616",
    "-1",
    "0.5",
)
ODD_TEXTS: Final = (
    "",
    "\u0000",
    SURROGATE,
    "a" + SURROGATE,
    "\u202e",
    "{{text}}{% x %}",
    "../../etc/passwd",
    "%s%n",
)
WORDS: Final = (
    "rollouts",
    "completion",
    "text",
    "offsets",
    "token_ids",
    "options",
    "tokenizer",
    "method",
    "task",
)
ODD_OFFSETS: Final[tuple[list[list[int]], ...]] = (
    [[3, 7], [0, 3]],
    [[0, 5], [3, 7]],
    [[3, 0], [7, 3]],
    [[0, 3], [3, 10**9]],
    [[0, 0]] * 7,
    [[-1, 3], [3, 7]],
    [[0, 3], [4, 7]],
    [[0, 2**63], [2**63, 2**64]],
    [[0, 3]] * 10_000,
)


class Raw(str):
    """JSON text that goes into a body as it is."""

    __slots__ = ()


Case = tuple[str, bytes, dict[str, str]]
"""The kind of case, its body and its headers."""


def cases(chance: random.Random, path: str) -> Iterator[Case]:
    """Cases for one route without an end."""
    while True:
        seed = chance.choice(SEEDS[path])
        make = chance.choices(list(MAKERS), list(MAKERS.values()))[0]
        yield make.__name__, *make(chance, json.loads(json.dumps(seed)))


def mutated(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """One to four places of a valid body hold something else."""
    for _ in range(chance.randint(1, 4)):
        place = chance.choice(list(_places(body)))
        body = _put(body, place, _junk(chance))
    return _written(body), {}


def odd_number(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Too large, too small, or none, at any place."""
    return _written(_put(body, chance.choice(list(_places(body))), Raw(chance.choice(ODD_NUMBERS)))), {}


def odd_offsets(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Offsets out of order, over each other, with gaps, behind the text."""
    for rollout in body.get("rollouts", ()):
        rollout["completion"] = {"text": "you rat", "offsets": chance.choice(ODD_OFFSETS)}
    return _written(body), {}


def deep(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Lists or objects in each other, far beyond what any parser follows, at any place or alone."""
    depth = chance.choice((50, 500, 5_000, DEEP))
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    nest = Raw(opening * depth + "1" + chance.choice((closing, "")) * depth)
    places = list(_places(body))
    return _written(nest if chance.random() < 0.3 else _put(body, chance.choice(places), nest)), {}


def long_text(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Megabytes where a text was."""
    places = [place for place in _places(body) if isinstance(_get(body, place), str)]
    piece = chance.choice(("a", "a ", "é", "😀", "\\\\", "\n", "<|im_end|>", "The answer is 5. "))
    return _written(
        _put(body, chance.choice(places), piece * (chance.choice(LONG) // len(piece.encode())))
    ), {}


def many(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """A list a thousand times as long."""
    places = [place for place in _places(body) if isinstance(_get(body, place), list)]
    if not places:
        return mutated(chance, body)
    place = chance.choice(places)
    return _written(_put(body, place, _get(body, place) * 1000)), {}


def doubled(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """A key twice, the second time with something else."""
    name = chance.choice(WORDS)
    return _written(body)[:-1] + f', "{name}": {json.dumps(_junk(chance))}}}'.encode(), {}


def other_encoding(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """JSON is UTF-8; this is not, or says that it is something else."""
    body["note"] = "é😀"
    text = json.dumps(body, ensure_ascii=False)
    encoding = chance.choice(("utf-16", "utf-32", "utf-8-sig", "cp1252", "utf-7"))
    headers = chance.choice(({}, {"Content-Type": f"application/json; charset={encoding}"}))
    return text.encode(encoding, "replace"), headers


def spoilt_bytes(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Some bytes of a valid body are others, or missing."""
    sent = bytearray(_written(body))
    for _ in range(chance.randint(1, 8)):
        sent[chance.randrange(len(sent))] = chance.randrange(256)
    return bytes(sent[: chance.randint(0, len(sent))] if chance.random() < 0.5 else sent), {}


def compressed(chance: random.Random, body: Json) -> tuple[bytes, dict[str, str]]:
    """Whole gzip, gzip that breaks off, and what only says that it is."""
    packed = gzip.compress(_written(body))
    sent = chance.choice((packed, packed[: len(packed) // 2], _written(body), b"\x1f\x8b"))
    return sent, {"Content-Encoding": chance.choice(("gzip", "deflate", "br", "zstd"))}


Maker = Callable[[random.Random, Json], tuple[bytes, dict[str, str]]]
MAKERS: Final[dict[Maker, float]] = {
    mutated: 10,
    odd_number: 6,
    odd_offsets: 2,
    deep: 1,
    long_text: 0.2,
    many: 0.3,
    doubled: 2,
    other_encoding: 2,
    spoilt_bytes: 4,
    compressed: 1,
}
"""With how often each is drawn: the large ones seldom."""


def _places(body: Json, at: Place = ()) -> Iterator[Place]:
    yield at
    inside = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in inside:
        yield from _places(value, (*at, key))


def _get(body: Json, place: Place) -> Json:
    for key in place:
        body = body[key]
    return body


def _put(body: Json, place: Place, value: Json) -> Json:
    if not place:
        return value
    _get(body, place[:-1])[place[-1]] = value
    return body


def _junk(chance: random.Random) -> Json:
    return chance.choice(
        (
            None,
            True,
            False,
            0,
            -1,
            2**63,
            1.5,
            [],
            {},
            [[]],
            [None],
            [0, 1],
            {"a": 1},
            chance.choice(ODD_TEXTS),
            chance.choice(WORDS),
            Raw(chance.choice(ODD_NUMBERS)),
            [chance.choice(ODD_TEXTS)] * 3,
        )
    )


def _written(body: Json) -> bytes:
    """JSON text; what is ``Raw`` in it stands there bare."""
    held: list[str] = []

    def mark(value: Json) -> Json:
        if isinstance(value, Raw):
            held.append(value)
            return f"@raw{len(held) - 1}@"
        if isinstance(value, dict):
            return {key: mark(one) for key, one in value.items()}
        return [mark(one) for one in value] if isinstance(value, list) else value

    text = json.dumps(mark(body))
    for index, raw in enumerate(held):
        text = text.replace(f'"@raw{index}@"', raw)
    return text.encode()
