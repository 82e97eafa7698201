"""What the embedded rewriter is taught: texts to copy, and exercises as the service sets them."""

from dataclasses import fields
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import assayd
from assay_training.corpora.copying import repeats
from assay_training.mixture import Mixture
from assay_training.pocket_prompt import END
from assay_training.pocket_rewriter_card import FIX, LOCATE
from assay_training.pocket_rewriter_courses import (
    COPYING,
    CORRECTING,
    JOINT,
    RewriterCourse,
    Shares,
    plain_pieces,
)
from assay_training.rewriter.asking import Asking
from assayd.prompt_files import load_prompts

POCKET = Path(assayd.__file__).parent / "pocket" / "critic"
TOKENIZER = Tokenizer.from_file(str(POCKET / "tokenizer.json"))
COURSE = RewriterCourse(CORRECTING, plain_pieces(TOKENIZER), Asking.by_name(LOCATE, FIX))


@pytest.mark.parametrize("stages", [COPYING, CORRECTING])
def test_a_course_is_covered_by_its_stages(stages: tuple[Shares, ...]) -> None:
    """Stages follow each other up to the end, and each one's shares sum to one."""
    assert [stage.until for stage in stages] == sorted(stage.until for stage in stages)
    assert stages[-1].until == 1.0
    names = [entry.name for entry in fields(Shares) if entry.name != "until"]
    assert names == list(COURSE.sources(0))
    for stage in stages:
        assert sum(getattr(stage, name) for name in names) == pytest.approx(1.0)


def test_a_text_to_repeat_is_read_once_and_written_again() -> None:
    """Of pieces that are plain text, at varying lengths, so that the place does not say what comes next."""
    texts = list(islice(COURSE.sources(0)["repeats"], 50))
    lengths = set()
    for head, reply in texts:
        text = head.removesuffix(JOINT)
        times = reply.removesuffix(END).split(JOINT)
        assert set(times) == {text}
        lengths.add(len(TOKENIZER.encode(text).ids))
    assert len(lengths) > 10
    assert all(times >= 2 for _, times in islice(repeats(0, ["a"]), 200))


@pytest.mark.parametrize(("name", "prompt"), [("locate", "locate"), ("fix", "fix")])
def test_an_exercise_is_what_the_service_asks(name: str, prompt: str) -> None:
    """The prompt is the body of the prompt file, and only the answer and its end are learned."""
    body = load_prompts("pocket/rewrite")[prompt].body
    opening, closing = body[: body.index("{{")], body[body.rindex("}}") + 2 :]
    for head, reply in islice(COURSE.sources(0)[name], 20):
        assert head.startswith(opening)
        assert head.endswith(closing)
        assert reply.endswith(END)
        assert reply.count("<|") == 1


def test_the_same_seed_gives_the_same_batch() -> None:
    """Courses run in the loop of the other embedded models."""
    first, again = (Mixture(TOKENIZER, "1 0", 600, COURSE).batch(0.9) for _ in range(2))
    assert first.ids_bt.tolist() == again.ids_bt.tolist()
