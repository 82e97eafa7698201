"""One definition of the options: for callers in Python, for the wire, for prompt files, for the recipe."""

import json
from dataclasses import asdict

import pytest
from pydantic import TypeAdapter, ValidationError

from assayd.annotators.options import CriticOptions, Mode, settle
from assayd.annotators.prompting import parse_prompt

WIRE = TypeAdapter(CriticOptions)
FILE = b"""---
reply: relc-summarization
defaults:
  max_tokens: 100
  negative_reward: -1
  label_weights: {Irrelevant: 0.5}
compat:
  score_map: rouge
---
body"""
PROMPT = parse_prompt("test", FILE)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_token": 1},
        {"max_tokens": "1"},
        {"max_tokens": 0},
        {"negative_reward": 0.5},
        {"positive_reward": -0.5},
        {"top_p": 0},
        {"label_weights": {"a": -1}},
        {"score_map": "log"},
        {"n_votes": 0},
    ],
)
def test_the_wire_refuses(bad):
    """Unknown names, wrong types and values out of range are errors."""
    with pytest.raises(ValidationError):
        WIRE.validate_json(json.dumps(bad))


def test_the_wire_refuses_nan():
    """A weight is a finite number."""
    with pytest.raises(ValidationError):
        WIRE.validate_json('{"alpha_ext": NaN}')


def test_every_option_is_documented():
    """The OpenAPI document says of every option what it does."""
    properties = WIRE.json_schema()["properties"]
    assert [name for name, field in properties.items() if "description" not in field] == []


def test_caller_before_prompt_before_house():
    """What nobody chose comes from the prompt, and what that leaves open from the house."""
    settled = settle(CriticOptions(max_tokens=7), PROMPT, Mode.STRICT, {})
    assert (settled.max_tokens, settled.negative_reward, settled.top_p) == (7, -1.0, 0.95)
    assert (settled.match, settled.score_map, settled.first_token_intrinsic) == ("offset", "none", True)


def test_label_weights_add_up():
    """The caller's weights change the labels they name, and no other."""
    settled = settle(
        CriticOptions(label_weights={"Incoherent": 2.0}),
        PROMPT,
        Mode.STRICT,
        {"irrelevant": 1.0, "wrong": 1.0},
    )
    assert settled.label_weights == {"irrelevant": 0.5, "wrong": 1.0, "incoherent": 2.0}


def test_compat_defaults():
    """Compat mode has its own defaults: the released score map, and tokens by substring."""
    settled = settle(CriticOptions(), PROMPT, Mode.COMPAT, {})
    assert (settled.match, settled.score_map) == ("substring", "rouge")


def test_settled_options_are_plain_json():
    """What the recipe records survives JSON, so that it can be hashed and reported."""
    settled = asdict(settle(CriticOptions(stop=("\n",)), PROMPT, Mode.STRICT, {}))
    assert json.loads(json.dumps(settled)) == settled | {"stop": ["\n"]}
