"""Which step a reply names: worked case G4 and its neighbours."""

import pytest

from assayd.annotators.reading import Reply
from assayd.annotators.rewriting.labels import Finding, Located, read_label, released_label


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("[2]", 2),
        ("[12]", 12),
        ("incorrect at [1]", 1),
        ("The first error step is [7]", 7),
        ("**The first error step is [7].**", 7),
        ("Step [0] is correct. The first error step is [3]", 3),
        ("The first error step is [1]. No: the first error step is [2]", 2),
        ("[4] [4]", 4),
        ("5", 5),
        ("<think>The first error step is [9]</think>\n[2]", 2),
    ],
)
def test_g4_steps(said, step):
    """G4: labels of several digits are read whole, and "incorrect" is not "correct"."""
    assert read_label(Reply(said, steps=20), base=0) == Located(Finding.STEP, step)


@pytest.mark.parametrize(
    "said", ["correct", "Correct.", "The prediction is correct.", "All steps are correct"]
)
def test_g4_correct(said):
    """A reply that says that all is correct, and nothing else, is a verdict."""
    assert read_label(Reply(said, steps=3), base=0).finding is Finding.CORRECT


@pytest.mark.parametrize(
    "said",
    ["unknown", "", "incorrect", "not correct", "The prediction is not correct", "correct up to [1]",
     "[1] is correct", "[0] or [1]", "[", "partly correct", "<think>correct"],
)  # fmt: skip
def test_g4_unparseable(said):
    """G4: what follows no grammar is no verdict, least of all "correct"."""
    assert read_label(Reply(said, steps=3), base=0).finding is Finding.UNPARSEABLE


@pytest.mark.parametrize(("base", "label", "finding"), [
    (0, 3, Finding.UNPARSEABLE), (0, 2, Finding.STEP), (1, 3, Finding.STEP), (1, 0, Finding.UNPARSEABLE),
])  # fmt: skip
def test_label_range(base, label, finding):
    """A step that does not exist is not the wrong one; labels count from the base."""
    found = read_label(Reply(f"[{label}]", steps=3), base=base)
    assert found.finding is finding
    if finding is Finding.STEP:
        assert found.step == 2


def test_cut_reply():
    """A reply that ran out of tokens never says that all is correct, but a label that it names whole counts."""
    assert read_label(Reply("correct", cut=True, steps=3), base=0).finding is Finding.CUT
    assert read_label(Reply("The first error step is [1", cut=True, steps=30), base=0).finding is Finding.CUT
    assert read_label(Reply("The first error step is [1]", cut=True, steps=3), base=0).step == 1


@pytest.mark.parametrize(
    ("said", "label"),
    [("[2]", 2), ("[12]", 1), ("correct", -1), ("incorrect at [1]", -1), ("unknown", -1)],
)
def test_g4_compat(said, label):
    """G4, compat: the first digit alone counts, and -1 stands for "correct", "incorrect" and whatever else."""
    assert released_label(said) == label
