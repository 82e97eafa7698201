"""The markers by which chat templates tell turns apart, for texts in which a trainer sends a whole conversation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...domain.rollout import Role
from ..schemas import WireMessage


@dataclass(frozen=True, slots=True)
class Template:
    """``headers`` stand before a turn and say whose it is; ``ends`` stand behind one."""

    headers: Mapping[str, Role]
    ends: tuple[str, ...]

    @property
    def start(self) -> str:
        """What stands before a turn of the assistant."""
        return next(header for header, role in self.headers.items() if role is Role.ASSISTANT)


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is, and the characters ``[start, end)`` of its content, markers excluded."""

    role: Role
    start: int
    end: int


def _tagged(header: str, *ends: str, **names: str) -> Template:
    spoken = {role: names.get(role.value, role.value) for role in Role}
    return Template({header.format(name): role for role, name in spoken.items()}, ends)


TEMPLATES: Final[Mapping[str, Template]] = {
    "chatml": _tagged("<|im_start|>{}\n", "<|im_end|>", "<|endoftext|>"),
    "llama3": _tagged(
        "<|start_header_id|>{}<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        tool="ipython",
    ),
    "phi3": _tagged("<|{}|>\n", "<|end|>", "<|endoftext|>", "</s>"),
    "gemma": _tagged("<start_of_turn>{}\n", "<end_of_turn>", "<eos>", assistant="model"),
    "mistral": Template({"[INST]": Role.USER, "[/INST]": Role.ASSISTANT}, ("</s>",)),
    "deepseek": Template(
        {"<｜User｜>": Role.USER, "<｜Assistant｜>": Role.ASSISTANT}, ("<｜end▁of▁sentence｜>",)
    ),
}
BEGINS: Final = ("<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<bos>", "<s>")
"""What tokenizers put before everything."""
ENDS: Final = tuple(dict.fromkeys(end for template in TEMPLATES.values() for end in template.ends))


def found_in(text: str) -> list[Template]:
    """The templates whose markers ask the assistant to speak somewhere in ``text``."""
    return [template for template in TEMPLATES.values() if template.start in text]


def turns(text: str, template: Template) -> list[Turn]:
    """The turns of a conversation; text before the first marker is the system's, as in Mistral's and DeepSeek's."""
    headers = list(re.finditer("|".join(map(re.escape, template.headers)), text))
    found: list[Turn] = []
    first = headers[0].start() if headers else len(text)
    opening = Turn(Role.SYSTEM, after_begin(text), before_ends(text, 0, first, template.ends))
    if text[opening.start : opening.end].strip():
        found.append(opening)
    stops = [header.start() for header in headers[1:]] + [len(text)]
    for header, stop in zip(headers, stops, strict=True):
        end = before_ends(text, header.end(), stop, template.ends)
        found.append(Turn(template.headers[header.group()], header.end(), end))
    return found


def messages(text: str, spoken: Sequence[Turn]) -> tuple[WireMessage, ...]:
    """Turns as the judging routes take them."""
    return tuple(WireMessage(role=turn.role, content=text[turn.start : turn.end].strip()) for turn in spoken)


def after_begin(text: str) -> int:
    """Where the text starts behind the marker that a tokenizer puts before everything."""
    return next((len(begin) for begin in BEGINS if text.startswith(begin)), 0)


def before_ends(text: str, start: int, stop: int, ends: Sequence[str]) -> int:
    """Where ``text[start:stop]`` ends without the end markers behind it, and the whitespace behind those."""
    kept = bare = stop
    while True:
        while bare > start and text[bare - 1].isspace():
            bare -= 1
        end = next((end for end in ends if text.endswith(end, start, bare)), None)
        if end is None:
            return kept
        kept = bare = bare - len(end)
