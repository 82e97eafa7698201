"""Prompt files: parsed once, filled in one pass, and safe against the text that is put into them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ..domain.provenance import PromptRef
from .views import View

_FRONT_MATTER: Final = re.compile(r"---\r?\n(.*?\n)---[ \t]*\r?\n(.*)", re.DOTALL)
_PLACEHOLDER: Final = re.compile(r"\{\{#(\w+)\}\}\n?(.*?)\{\{/\1\}\}\n?|\{\{(\w+)\}\}", re.DOTALL)
_FENCE_MIN_CHARS: Final = 8

# Where a chat template or a tokenizer would see a role marker or a special token. The spaces make the rule
# injective: what already reads `< |` becomes `<  |`, so no two texts are shown alike.
_SPECIAL: Final = re.compile(
    r"""(?<=<)(?=\ *(?: [|｜]
            | /? (?: s | bos | eos | pad | unk | mask | cls | sep | think | sys | system | user | assistant
                   | tool_\w+ | \w+_of_\w+ | unused\d+ | extra_id_\d+ ) > ))
      | (?<=\[)(?=\ *(?: /? [gs]? [A-Z_]{3,} \] ))""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt file.

    ``reply`` names the grammar that the model is asked to answer in. ``defaults`` are the options this prompt
    was written for; ``compat`` holds those that differ when the released code is imitated.
    """

    name: str
    sha256: str
    reply: str
    defaults: Mapping[str, Any]
    compat: Mapping[str, Any]
    body: str

    @property
    def ref(self) -> PromptRef:
        """How the recipe names this prompt."""
        return PromptRef(self.name, self.sha256)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that the body asks for."""
        return frozenset(re.findall(r"\{\{#?(\w+)\}\}", self.body))

    def render(self, values: Mapping[str, str]) -> str:
        """The body with ``{{name}}`` filled in; ``{{#name}}...{{/name}}`` vanishes where ``name`` is empty.

        One pass over the body: what is put in is never looked at again. Raises ``KeyError`` for a name
        that ``values`` lacks.
        """
        return _fill(self.body, values)


def _fill(template: str, values: Mapping[str, str]) -> str:
    def text_for(match: re.Match[str]) -> str:
        section, inside, name = match.groups()
        if section is None:
            return values[name]
        return _fill(inside, values) if values[section] else ""

    return _PLACEHOLDER.sub(text_for, template)


def parse_prompt(name: str, data: bytes) -> Prompt:
    """Read a prompt file: YAML front matter between ``---`` lines, then the body.

    Raises ``ValueError`` that names the file and what is wrong with it.
    """
    parts = _FRONT_MATTER.fullmatch(data.decode("utf-8"))
    if parts is None:
        raise ValueError(f"prompt {name}: it must open with front matter between two lines of ---")
    front = yaml.safe_load(parts[1])
    if not isinstance(front, dict) or not isinstance(front.get("reply"), str):
        raise ValueError(f"prompt {name}: the front matter must say `reply:`, the grammar of the answer")
    if unknown := set(front) - {"reply", "defaults", "compat"}:
        raise ValueError(f"prompt {name}: unknown front matter {sorted(unknown)}")
    return Prompt(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        reply=front["reply"],
        defaults=front.get("defaults") or {},
        compat=front.get("compat") or {},
        body=parts[2].strip("\n"),
    )


def defanged(view: View) -> View:
    """``view`` with a space in all that looks like a special token: ``<|im_end|>`` reads ``< |im_end|>``."""
    return view.rewrite(_SPECIAL, lambda _: " ")


def defang(text: str) -> str:
    """``text`` as ``defanged`` shows it."""
    return defanged(View.of(text)).text


def fence_for(*texts: str) -> str:
    """A word that occurs in none of ``texts``, and the same one whenever the texts are the same."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    for length in range(_FENCE_MIN_CHARS, len(digest) + 1):
        if not any(digest[:length] in text for text in texts):
            return digest[:length]
    return fence_for(digest, *texts)
