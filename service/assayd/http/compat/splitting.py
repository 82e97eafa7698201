"""Finds the completion in a running text, or says why it cannot be found; nothing is guessed."""

from dataclasses import dataclass
from typing import Final

from ...domain.rollout import Role
from ...domain.text import Alignment, Unaligned
from ...settings import CompatSettings
from ..schemas import WireCompletion, WireMessage
from .following import followed
from .templates import ENDS, TEMPLATES, Template, after_begin, before_ends, found_in, messages, turns

OPENINGS: Final = ("", "<think>")
"""What chat templates put into the assistant's mouth when they ask it to speak."""


@dataclass(frozen=True, slots=True)
class Place:
    """The completion is the characters ``[start, end)`` of a text, ``prompt`` what it answers."""

    prompt: str | tuple[WireMessage, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """The completion is the tokens ``[start, end)`` of a text, sent as ``completion``."""

    prompt: str | tuple[WireMessage, ...]
    start: int
    end: int
    completion: WireCompletion


def by_markers(text: str, settings: CompatSettings) -> Place:
    """The completion behind the marker that asks the assistant to speak; raises ``Unaligned``.

    Where there are several such markers, ``settings.turn`` decides: a policy can write one as well, so that taking
    the last one has to be asked for.
    """
    if settings.completion_start is not None:
        return _behind(text, settings.completion_start, settings)
    template = _template(text, settings)
    spoken = turns(text, template)
    answers = [turn for turn in spoken if turn.role is Role.ASSISTANT]
    if not answers or spoken[-1].role is not Role.ASSISTANT:
        raise Unaligned("the text does not end with a turn of the assistant: there is no completion in it")
    _refuse_several(len(answers), settings)
    last = spoken[-1]
    end = before_ends(text, last.start, last.end, settings.completion_end)
    return Place(messages(text, spoken[:-1]), last.start, end)


def by_prompt(text: str, prompt: str, settings: CompatSettings) -> Place:
    """The completion behind ``prompt``, with which ``text`` begins; raises ``Unaligned`` where it does not.

    A prompt that went through a tokenizer and back may have gained or lost spaces: these are passed over. The
    whitespace that ends the prompt belongs to it.
    """
    place, start = followed(text, prompt, 0 if after_begin(prompt) else after_begin(text))
    if start < len(prompt):
        raise Unaligned(
            f"the text does not begin with its prompt: they part at character {start} of the prompt, "
            f"{prompt[start : start + 24]!r} (was the prompt cut to fit the policy's window?)"
        )
    return Place(spoken_in(prompt, settings), place, before_ends(text, place, len(text), ends(settings)))


def spoken_in(prompt: str, settings: CompatSettings) -> str | tuple[WireMessage, ...]:
    """The turns of a prompt that went through a chat template; any other prompt as it is."""
    try:
        template = _template(prompt, settings)
    except Unaligned:
        return prompt
    spoken = turns(prompt, template)
    opened = prompt[spoken[-1].start :].strip() if spoken and spoken[-1].role is Role.ASSISTANT else None
    return messages(prompt, spoken[:-1]) if opened in OPENINGS else prompt


def ends(settings: CompatSettings) -> tuple[str, ...]:
    """The end markers that are no part of a completion."""
    known = ENDS if settings.template == "auto" else TEMPLATES[settings.template].ends
    return (*settings.completion_end, *known)


def in_tokens(place: Place, alignment: Alignment, *, with_ids: bool) -> TokenPlace:
    """The same place in tokens; raises ``Unaligned`` where it begins or ends inside of one."""
    spans = alignment.token_spans
    first = sum(span.start < place.start for span in spans)
    last = max(first, sum(span.start < place.end for span in spans))
    cut = [
        edge
        for edge, index in ((place.start, first), (place.end, last))
        if index and spans[index - 1].end > edge
    ]
    if cut:
        raise Unaligned(f"a token lies across character {cut[0]}, where the completion begins or ends")
    offsets = tuple((span.start - place.start, span.end - place.start) for span in spans[first:last])
    ids = alignment.token_ids if with_ids else None
    completion = WireCompletion(
        text=alignment.text[place.start : place.end],
        offsets=offsets,
        token_ids=None if ids is None else ids[first:last],
    )
    return TokenPlace(place.prompt, first, last, completion)


def _behind(text: str, marker: str, settings: CompatSettings) -> Place:
    found = text.count(marker)
    if not found:
        raise Unaligned(f"compat.completion_start, {marker!r}, is not in the text")
    _refuse_several(found, settings)
    at = text.rindex(marker)
    start = at + len(marker)
    prompt = text[after_begin(text) : at]
    return Place(prompt, start, before_ends(text, start, len(text), ends(settings)))


def _template(text: str, settings: CompatSettings) -> Template:
    if settings.template != "auto":
        return TEMPLATES[settings.template]
    found = found_in(text)
    if len(found) == 1:
        return found[0]
    what = "markers of several chat templates" if found else "no marker of a known chat template"
    raise Unaligned(
        f"there is {what} in the text, so nobody knows where its completion begins: name one with "
        "ASSAY_COMPAT__TEMPLATE, or what stands before completions with ASSAY_COMPAT__COMPLETION_START"
    )


def _refuse_several(found: int, settings: CompatSettings) -> None:
    if found > 1 and settings.turn == "only":
        raise Unaligned(
            f"the assistant begins to speak at {found} places of the text: if prompts hold earlier turns, say "
            "ASSAY_COMPAT__TURN=last"
        )
