"""How far a text follows its prompt: as a walk by single characters says, but in few steps."""

from hypothesis import example, given
from hypothesis import strategies as st

from assayd.http.compat.following import followed

FEW = st.text("ab \n\t", max_size=40)


def walked(text: str, prompt: str, place: int) -> tuple[int, int]:
    """The definition: alike, both go on; else a space of the prompt is passed over, or one of the text."""
    start = 0
    while start < len(prompt):
        if place < len(text) and text[place] == prompt[start]:
            place, start = place + 1, start + 1
        elif prompt[start].isspace():
            start += 1
        elif place < len(text) and text[place].isspace():
            place += 1
        else:
            break
    return place, start


@given(text=FEW, prompt=FEW, place=st.integers(0, 3))
@example(text="a", prompt="a \n ", place=0)
@example(text="\n\t\na", prompt=" \n \na", place=0)
def test_it_goes_where_a_walk_goes(text: str, prompt: str, place: int) -> None:
    """For any two texts, alike or not."""
    assert followed(text, prompt, place) == walked(text, prompt, place)


@given(prompt=FEW, spaces=st.lists(st.sampled_from(["", " ", "\n"]), min_size=1), rest=FEW)
def test_spaces_that_came_and_went_do_not_matter(prompt: str, spaces: list[str], rest: str) -> None:
    """The prompt is found whatever happened to its spaces."""
    text = "".join(
        character + spaces[index % len(spaces)]
        for index, character in enumerate(prompt)
        if not character.isspace()
    )
    assert followed(text + rest, prompt, 0)[1] == len(prompt)


def test_a_step_is_not_a_character() -> None:
    """A million characters of either kind, alike or not, are read in a few slices and searches."""
    long = "word " * 200_000
    for text, prompt in ((long + "Yes", long), ("Yes", " " * 1_000_000), (" " * 1_000_000, "Yes")):
        steps = []
        followed(Counting(text, steps), Counting(prompt, steps), 0)
        assert len(steps) < 200


class Counting(str):
    """A text that notes how often a piece of it is looked at."""

    __slots__ = ("steps",)
    steps: list[object]

    def __new__(cls, text: str, steps: list[object]) -> "Counting":
        """The same text."""
        made = super().__new__(cls, text)
        made.steps = steps
        return made

    def __getitem__(self, key: object) -> str:
        """A piece."""
        self.steps.append(key)
        return super().__getitem__(key)  # type: ignore[index]
