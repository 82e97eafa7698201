"""What the embedded rewriter is taught in the fast loop, and when: first to copy, then to correct.

A correction is a copy with a few numbers of another text. The attention that copies has to form first, on texts about
which nothing else can be learned: on solutions alone a model this small learns their sentences by heart instead, and
writes those for whatever it is shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tokenizers import Tokenizer

from .corpora.copying import jumbles, repeats
from .corpora.items import Split
from .corpora.rewrites import Rewrite, arithmetic_rewrites, disguised
from .mixture import Example
from .pocket_prompt import END, SPECIAL_TOKENS, defang
from .pocket_rewriter_figures import row_of
from .rewriter.asking import Asking, Task

RIGHT = 0.2
ATTACKED = 0.15
JUMBLED = 0.8
STRANGE = 0.4
"""In most solutions the sentences are of random words, many made up: there is nothing to learn by heart."""
JOINT = "<|completion|>"


@dataclass(frozen=True, slots=True)
class Shares:
    """What is shown until this part of a course: texts to repeat and to copy, exercises with few steps and with all."""

    until: float
    repeats: float = 0.0
    copies: float = 0.0
    short_locate: float = 0.0
    short_fix: float = 0.0
    locate: float = 0.0
    fix: float = 0.0


COPYING = (Shares(1.0, repeats=1.0),)
CORRECTING = (
    Shares(0.08, repeats=0.25, copies=0.25, short_locate=0.25, short_fix=0.25),
    Shares(0.30, repeats=0.05, copies=0.15, short_locate=0.15, short_fix=0.15, locate=0.25, fix=0.25),
    Shares(1.00, repeats=0.02, copies=0.04, short_locate=0.07, short_fix=0.07, locate=0.40, fix=0.40),
)
WIDENING = (Shares(1.0, repeats=0.03, copies=0.03, short_locate=0.04, short_fix=0.10, locate=0.35, fix=0.45),)


@dataclass(frozen=True, slots=True)
class RewriterCourse:
    """A part of the training: its stages, the tokens for texts to repeat, and how corrections are asked for.

    `disguised` puts words made of those tokens into the solutions.
    """

    stages: tuple[Shares, ...]
    pieces: tuple[str, ...]
    asking: Asking
    disguised: bool = False

    def sources(self, seed: int | str) -> dict[str, Iterator[Example]]:
        """Endless examples of each kind: what the rewriter reads, and what it is to write."""
        return {
            "repeats": (_repeated(text, times) for text, times in repeats(seed, self.pieces)),
            "copies": (_copied(text) for text in jumbles(seed, (1, 6))),
            "short_locate": self._exercises(Task.LOCATE, f"{seed} locate", (1, 2)),
            "short_fix": self._exercises(Task.FIX, f"{seed} fix", (1, 2)),
            "locate": self._exercises(Task.LOCATE, f"{seed} locate", (2, 5)),
            "fix": self._exercises(Task.FIX, f"{seed} fix", (2, 5)),
        }

    def _exercises(self, task: Task, seed: str, steps: tuple[int, int]) -> Iterator[Example]:
        pieces = self.pieces if self.disguised else ()
        return (self._exercise(task, rewrite) for rewrite in training_rewrites(seed, steps, pieces))

    def _exercise(self, task: Task, rewrite: Rewrite) -> Example:
        exercises = self.asking.exercises(row_of(rewrite))
        _, messages, answer = next(exercise for exercise in exercises if exercise[0] is task)
        return "".join(message.content for message in messages), answer + END


def training_rewrites(
    seed: int | str, steps: tuple[int, int], pieces: Sequence[str] = (), words: Sequence[int | None] = (None,)
) -> Iterator[Rewrite]:
    """Rows to learn from, most of them in jumbled words.

    Where there are pieces, words made of them stand in the rows; `words` are the numbers of these to choose from, None
    for as many as it takes.
    """
    rewrites = arithmetic_rewrites(
        seed, Split.TRAIN, steps=steps, right=RIGHT, attacked=ATTACKED, jumbled=JUMBLED, strange=STRANGE
    )
    if not pieces:
        return rewrites
    random = Random(f"disguises {seed} {steps}")
    letters = [piece.strip() for piece in pieces if piece.strip().isalpha()]
    return (
        disguised(rewrite, random, letters, words[0] if len(words) == 1 else random.choice(words))
        for rewrite in rewrites
    )


def plain_pieces(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The tokens of the vocabulary that are plain text on their own."""
    texts = (tokenizer.decode([token]) for token in range(tokenizer.get_vocab_size()))
    return tuple(text for text in texts if text.isascii() and text and text not in SPECIAL_TOKENS)


def _repeated(text: str, times: int) -> Example:
    return text + JOINT, JOINT.join([text] * (times - 1)) + END


def _copied(text: str) -> Example:
    return f"{defang(text)}\n{JOINT}", defang(text) + END
