"""The kept prefix and the reply, put together."""

from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.prompting import defang
from assayd.annotators.rewriting.continuing import joined, refang

PIECES = st.lists(
    st.sampled_from(["<", "[", "|", " ", "im_end", "|>", "/s>", "s>", "INST]", "a", "\n", "think>"])
)


@given(PIECES.map("".join))
def test_refang(text):
    """What a model copies from a defanged prompt reads as it was sent."""
    assert refang(defang(text)) == text


def test_reply_continues():
    """A reply goes on behind the prefix, whose indentation and blank lines stay."""
    assert joined("  a\n\n", "b = 2", "  a\n\nb = 1") == "  a\n\nb = 2"


def test_repeated_prefix():
    """A model that starts anew repeats the prefix: it is taken off once, not twice."""
    assert joined("a\n", "a\nb", "a\nc") == "a\nb"
    assert joined("a\n", "\n\na\na\nb", "a\nc") == "a\na\nb"


def test_swallowed_line_break():
    """Where a chat template trims the prefix's last line break, the reply gives it back."""
    assert joined("a\n", "\nb", "a\nc") == "a\nb"
    assert joined("a\n", "\n    b", "a\n    c") == "a\n    b"


def test_white_space_at_the_ends():
    """White space around the rewrite is the prediction's, and no correction."""
    assert joined("", "\n\n x = 2\n", " x = 1") == " x = 2"
    assert joined("a\n", "b", "a\nc\n") == "a\nb\n"


def test_nothing_added():
    """A rewriter that drops all the rest leaves the prefix as it was."""
    assert joined("a\n", "", "a\nb") == "a\n"


@given(st.text(alphabet="ab \n", max_size=8), st.text(alphabet="ab \n", max_size=8))
def test_prefix_is_never_touched(prefix, reply):
    """Whatever the reply, the rewrite begins with the prefix, byte for byte."""
    assert joined(prefix, reply, prefix + "z").startswith(prefix)
