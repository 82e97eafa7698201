"""The JSON schemas that an engine may hold a reply to: they let through what the reader takes, and no other fields."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.grammars import GRAMMARS
from assayd.annotators.reading import Outcome, Reply

TYPES = {"object": dict, "array": list, "string": str, "number": int | float}
KNOWN = {"type", "properties", "required", "additionalProperties", "items", "minimum", "maximum", "enum"}
REMARKS = json.loads(GRAMMARS["remarks"].schema or "")
REMARK = {"quote": "the end", "label": "abrupt", "severity": 0.5, "reason": "It just stops."}


def follows(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value follows a schema, by those words of JSON Schema that ours use; others fail the test."""
    assert schema.keys() <= KNOWN
    if not isinstance(value, TYPES[schema["type"]]) or isinstance(value, bool):
        return False
    match value:
        case dict():
            fields = schema["properties"]
            assert schema["additionalProperties"] is False
            named = set(schema["required"]) <= value.keys() <= fields.keys()
            return named and all(follows(part, fields[name]) for name, part in value.items())
        case list():
            return all(follows(item, schema["items"]) for item in value)
        case str():
            return value in schema.get("enum", [value])
        case _:
            return bool(schema["minimum"] <= value <= schema["maximum"])


def test_every_json_of_the_prompt_follows(prompt_named: Any) -> None:
    """Examples, empty verdict and the form itself; the fields stand in the order that the schema gives them."""
    replies = [
        json.loads(shown) for shown in re.findall(r'\{"remarks": \[.*?\]\}', prompt_named("remarks").body)
    ]
    assert [len(reply["remarks"]) for reply in replies] == [1, 0, 1, 2, 0]
    order = list(REMARKS["properties"]["remarks"]["items"]["properties"])
    for reply in replies:
        assert follows(reply, REMARKS)
        for remark in reply["remarks"]:
            assert list(remark) == [name for name in order if name in remark]


WRITTEN = st.fixed_dictionaries(
    {"quote": st.text(), "label": st.text()},
    optional={
        "severity": st.floats(0, 1) | st.sampled_from([0, 1]),
        "reason": st.text(),
        "polarity": st.sampled_from(["negative", "positive"]),
    },
)


@given(st.lists(WRITTEN, max_size=3))
def test_schema_and_reader_agree(remarks: list[dict[str, Any]]) -> None:
    """What follows the schema is read, unless a quote or a label says nothing: no schema tells that."""
    assert follows({"remarks": remarks}, REMARKS)
    reading = GRAMMARS["remarks"].read(Reply(json.dumps({"remarks": remarks})))
    if all(re.search(r"\w", remark["quote"]) and re.search(r"\w", remark["label"]) for remark in remarks):
        assert reading.outcome is (Outcome.MARKED if remarks else Outcome.CLEAN)
        assert [remark.severity for remark in reading.remarks] == [
            one.get("severity", 1.0) for one in remarks
        ]


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {"remarks": {}},
        {"remarks": [1]},
        {"remarks": [], "score": 1},
        *(
            {"remarks": [REMARK | {name: value}]}
            for name, value in [
                ("quote", 3), ("label", None), ("severity", 1.5), ("severity", -0.1), ("severity", True),
                ("reason", 7), ("polarity", "mixed"), ("polarity", []), ("confidence", 1),
            ]
        ),
        {"remarks": [{"quote": "x"}]},
        {"remarks": [{"label": "x"}]},
    ],
)  # fmt: skip
def test_what_breaks_the_grammar_breaks_the_schema(broken: Any) -> None:
    """A held reply cannot be what the reader refuses for its fields."""
    assert not follows(broken, REMARKS)


async def test_the_critic_asks_for_json_where_the_reply_is_json(judge: Any) -> None:
    """The schema of the grammar, in every vote; none for the line grammars, none in compat mode."""
    trial = await judge("remarks", ["a"], '{"remarks": []}', rubric="x", n_votes=2, temperature=0.5)
    assert [sampling.json_schema for _, sampling in trial.engine.asked] == [GRAMMARS["remarks"].schema] * 2
    for mode in ("strict", "compat"):
        trial = await judge("relc-toxicity", ["a"], "None identified", mode=mode)
        assert [sampling.json_schema for _, sampling in trial.engine.asked] == [None]
