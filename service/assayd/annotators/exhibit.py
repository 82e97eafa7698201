"""What one rollout looks like to the critic: the texts that fill a prompt, and the way back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..domain.rollout import Message, Rollout
from ..domain.text import Span
from .options import Layout, Mode, Newlines, Settled
from .prompting import defang, defanged, fence_for
from .score_maps import score_shown
from .steps import step_spans
from .views import View

PLACEHOLDERS: Final = frozenset(
    {"passage", "prompt", "completion", "steps", "score", "rubric", "reference", "fence"}
)
"""What a critic's prompt may ask for."""

_NEWLINE: Final = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SHOWN_AS: Final[Mapping[Newlines, Callable[[str], str]]] = {
    Newlines.SPACE: lambda _: " ",
    Newlines.REMOVE: lambda _: "",
}


@dataclass(frozen=True, slots=True)
class Exhibit:
    """The texts of one rollout as they stand in the prompt; untrusted ones are defanged."""

    prompt: View
    completion: View
    steps: tuple[View, ...]
    score: str | None
    reference: str
    rubric: str

    @classmethod
    def of(cls, rollout: Rollout, options: Settled, part: Span | None = None) -> "Exhibit":
        """Show ``rollout``, or one part of its completion, by ``options``.

        A step keeps its line to itself, whatever ``newlines`` says.
        """
        text = rollout.completion.text
        return cls(
            prompt=_shown(View.of(prompt_text(rollout.prompt)), options.newlines),
            completion=_shown(View.of(text, part), options.newlines),
            steps=tuple(defanged(View.of(text, span)) for span in step_spans(text)),
            score=score_shown(rollout.extrinsic, options),
            reference=defang(rollout.reference or ""),
            rubric=defang(options.rubric or ""),
        )

    def values(self, rollout: Rollout, layout: Layout, mode: Mode) -> dict[str, str]:
        """What fills each placeholder of the prompt."""
        steps = "\n".join(f"[{index}] {step.text}" for index, step in enumerate(self.steps))
        prompt = defang(prompt_text(rollout.prompt))
        fence = fence_for(prompt, self.completion.text, steps, self.reference, self.rubric)
        return {
            "passage": self._passage(fence, layout, mode),
            "prompt": prompt,
            "completion": self.completion.text,
            "steps": steps,
            "score": self.score or "",
            "rubric": self.rubric,
            "reference": self.reference,
            "fence": fence,
        }

    def _passage(self, fence: str, layout: Layout, mode: Mode) -> str:
        """Prompt and completion, the completion in its own tags; in compat mode one text, as released."""
        prompt, completion = self.prompt.text, self.completion.text
        if layout is Layout.QUERY_RESPONSE and mode is Mode.COMPAT:
            return f"<completion-{fence}>\n{prompt}{completion}\n</completion-{fence}>"
        if layout is Layout.QUERY_RESPONSE:
            inner = f"{prompt}<completion-{fence}>{completion}</completion-{fence}>"
            return f"<text-{fence}>\n{inner}\n</text-{fence}>"
        before = f"<prompt-{fence}>\n{prompt}\n</prompt-{fence}>\n" if prompt else ""
        return f"{before}<completion-{fence}>\n{completion}\n</completion-{fence}>"


def prompt_text(messages: tuple[Message, ...]) -> str:
    """A prompt as one text; turns are named when there are several."""
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _shown(view: View, newlines: Newlines) -> View:
    shown_as = _SHOWN_AS.get(newlines)
    return defanged(view if shown_as is None else view.rewrite(_NEWLINE, shown_as))
