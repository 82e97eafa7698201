"""What a rewriter is asked, and what it should answer: the prompts of the service, filled in by its own code."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from assayd.annotators.prompting import Prompt, defang
from assayd.annotators.rewriting.exhibit import PLACEHOLDERS, texts_of
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment
from assayd.prompt_files import load_prompts

from .rows import END_OF_REASONING, Row


class Task(StrEnum):
    """The two things that a rewriter does."""

    LOCATE = "locate"
    FIX = "fix"


@dataclass(frozen=True, slots=True)
class Asking:
    """The prompts for the two tasks."""

    locate: Prompt
    fix: Prompt

    @classmethod
    def by_name(cls, locate: str, fix: str) -> "Asking":
        """Prompts of the service by room and name, like ``pocket/rewrite/fix``; ``ValueError`` for one that is not."""
        return cls(_prompt(locate), _prompt(fix))

    def asked(self, row: Row, task: Task, *, begun: str = "") -> tuple[Message, ...]:
        """The messages of a task; ``begun`` is the beginning of the answer that is put into its mouth."""
        prompt = self.locate if task is Task.LOCATE else self.fix
        question = Message(Role.USER, prompt.render(texts_of(rollout_of(row))))
        return (question, Message(Role.ASSISTANT, defang(begun))) if begun else (question,)

    def exercises(self, row: Row) -> Iterator[tuple[Task, tuple[Message, ...], str]]:
        """Both tasks with the right answers, of which the second is read as the service shows texts: defanged."""
        yield Task.LOCATE, self.asked(row, Task.LOCATE), found_in(row)
        yield Task.FIX, self.asked(row, Task.FIX), defang(row.correction)


def found_in(row: Row) -> str:
    """The right answer of the first task: the label, and the reasoning before it where there is any."""
    label = "correct" if row.error_step is None else f"The first error step is [{row.error_step}]"
    return f"<think>\n{row.reasoning}\n{END_OF_REASONING}\n{label}" if row.reasoning else label


def rollout_of(row: Row) -> Rollout:
    """A row as the service gets it."""
    completion = Completion(Alignment(row.prediction, None, ()))
    return Rollout("", (Message(Role.USER, row.question),), completion, reference=row.reference)


def _prompt(name: str) -> Prompt:
    room, _, stem = name.rpartition("/")
    try:
        prompt = load_prompts(room)[stem]
    except (FileNotFoundError, KeyError) as error:
        raise ValueError(f"there is no prompt {name!r}") from error
    if unknown := prompt.placeholders - PLACEHOLDERS:
        raise ValueError(
            f"the prompt {name} asks for {', '.join(sorted(unknown))}, which no rewriter is given"
        )
    return prompt
