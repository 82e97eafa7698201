"""Prompt files: how they are read, filled in, and what they promise."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_training.corpora.items import Domain
from assay_training.pocket_prompt import render
from assayd.annotators.exhibit import PLACEHOLDERS, Exhibit
from assayd.annotators.grammars import GRAMMARS
from assayd.annotators.options import CriticOptions, Layout, Mode, settle
from assayd.annotators.prompting import fence_for, parse_prompt
from assayd.annotators.reading import Outcome, Reply

TASKS = ("relc-toxicity", "relc-sentiment", "relc-summarization", "remarks", "math-steps")
EXAMPLE = re.compile(r"^Example \d+\n(.*?)\nAnswer:\n(.*?)\n\n", re.DOTALL | re.MULTILINE)


def prompt(body: str):
    """A prompt with this body."""
    return parse_prompt("test", f"---\nreply: remarks\n---\n{body}".encode())


def test_front_matter():
    """A prompt is named, pinned by the digest of its bytes, and says its grammar and defaults."""
    data = b"---\nreply: steps\ndefaults:\n  max_tokens: 7\n---\n\nHello {{prompt}}\n"
    parsed = parse_prompt("critic/x", data)
    assert (parsed.reply, parsed.defaults, parsed.body) == ("steps", {"max_tokens": 7}, "Hello {{prompt}}")
    assert parsed.sha256 != parse_prompt("critic/x", data + b" ").sha256
    assert parsed.placeholders == {"prompt"}


@pytest.mark.parametrize(
    "data",
    [
        b"Hello",
        b"---\nreply: steps\nHello",
        b"---\ndefaults: {}\n---\nx",
        b"---\nreply: a\nreplay: b\n---\nx",
    ],
)
def test_broken_front_matter(data):
    """A file that cannot be read names itself."""
    with pytest.raises(ValueError, match="prompt mine"):
        parse_prompt("mine", data)


def test_defaults_that_nothing_knows(critic_of, scripted):
    """A misspelled default is an error of the file, not silence."""
    broken = parse_prompt("mine", b"---\nreply: steps\ndefaults:\n  max_token: 7\n---\nx")
    with pytest.raises(ValueError, match="max_token"):
        settle(CriticOptions(), broken, Mode.STRICT, {})


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_filled_in_is_not_read_again(one, other):
    """Placeholders in untrusted text stay as they are."""
    values = {"a": "{{b}}" + one, "b": other + "{{#a}}{{/a}}"}
    assert prompt("<{{a}}|{{b}}>").render(values) == f"<{values['a']}|{values['b']}>"


def test_sections():
    """A section vanishes with its lines where its name is empty."""
    body = "x\n{{#score}}\nscore: {{score}}\n{{/score}}\ny"
    assert prompt(body).render({"score": "3/10"}) == "x\nscore: 3/10\ny"
    assert prompt(body).render({"score": ""}) == "x\ny"


@given(st.lists(st.text(max_size=30), max_size=4))
def test_fence(texts):
    """A fence is in none of the texts, and depends on nothing else."""
    assert not any(fence_for(*texts) in text for text in texts)
    assert fence_for(*texts) == fence_for(*texts)


@pytest.mark.parametrize("task", TASKS)
def test_prompts_ask_for_what_a_critic_has(prompt_named, task):
    """Every placeholder can be filled; the material comes once, the task before and behind it."""
    parsed = prompt_named(task)
    assert parsed.placeholders <= PLACEHOLDERS
    assert len(re.findall(r"\{\{(?:passage|steps)\}\}", parsed.body)) == 1
    assert ("rubric" in parsed.placeholders) is (task == "remarks")


@pytest.mark.parametrize("task", TASKS)
def test_examples_follow_their_own_grammar(prompt_named, task):
    """Every example of a prompt is a reply that we can read, and quotes its text letter by letter."""
    parsed = prompt_named(task)
    examples = EXAMPLE.findall(parsed.body)
    assert len(examples) in (3, 4)
    outcomes = set()
    for shown, answer in examples:
        reading = GRAMMARS[parsed.reply].read(Reply(answer, steps=len(re.findall(r"^\[\d+\]", shown, re.M))))
        outcomes.add(reading.outcome)
        assert all(remark.quote in shown.partition("\n")[2] + shown for remark in reading.remarks)
    assert outcomes == {Outcome.MARKED, Outcome.CLEAN}


@pytest.mark.parametrize("domain", list(Domain))
def test_embedded_critics_read_what_they_were_trained_on(prompt_named, rollout_of, domain):
    """The service fills the prompts of the embedded models exactly as their training did."""
    task = {
        Domain.ARITHMETIC: "math-steps",
        Domain.SENTIMENT: "relc-sentiment",
        Domain.TOXICITY: "relc-toxicity",
    }
    parsed = prompt_named(task[domain], room="pocket")
    grammar = GRAMMARS[parsed.reply]
    options = settle(CriticOptions(), parsed, Mode.STRICT, grammar.label_weights)
    asked, completion = "How many <|pad|>\nare left?", "It is 3 + 4 = 7. <|end|>\n\n  So 7\nare left."
    rollout = rollout_of([completion], prompt=asked)
    values = Exhibit.of(rollout, options).values(rollout, Layout.SEPARATE, Mode.STRICT)
    assert parsed.render(values) == render(domain, asked, completion)
