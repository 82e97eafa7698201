"""Writes a prompt and a completion as a model reads them, and says where each policy token's last character lies."""

from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Intake, Window
from ..domain.provenance import ModelRef, Usage
from ..domain.rollout import Completion, Message
from ..domain.text import Alignment, Segment, Unaligned
from .alignment import PolicyTokenizer
from .prompts import left_truncated
from .transferring import last_tokens


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model reads: the prompt, the completion from ``start`` to ``stop``, and an end marker where it has one.

    ``places`` has the index in ``ids`` of each policy token's last character, ``end`` that of the end marker, or of
    the last token where there is none. ``marker`` is the policy token that is the end marker, if one is. ``own`` is
    the text in the model's own tokens where those were not the policy's.
    """

    ids: tuple[int, ...]
    start: int
    stop: int
    places: tuple[int, ...]
    end: int
    marker: int | None
    own: Alignment | None
    intake: Intake

    def places_of(self, segments: tuple[Segment, ...], *, closing: bool) -> tuple[int, ...]:
        """Where each segment is read: at its last token; with ``closing`` the last one at the end of all."""
        ended = segments[:-1] if closing else segments
        if not all(ended):
            raise ValueError("a segment without tokens has no last token to score")
        places = tuple(self.places[segment.end - 1] for segment in ended)
        return (*places, self.end) if len(ended) < len(segments) else places


class Renderer:
    """The way into one model. Safe to use from several threads.

    ``context`` is the most tokens that the model reads at once (None: nothing bounds them), ``vocabulary`` how many ids
    it has embeddings for.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: ModelRef, *, context: int | None, vocabulary: int
    ) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._policy = PolicyTokenizer(model, _plain(tokenizer, model))
        self._context = context
        self._vocabulary = vocabulary

    def render(
        self, prompt: tuple[Message, ...], completion: Completion, window: Window, *, closing: bool = False
    ) -> Reading:
        """Write prompt and completion; ``closing`` puts an end marker behind a finished completion without one.

        The completion's ids are kept where this tokenizer reads them as the very same characters, token by token.
        Elsewhere its text is written in the model's own tokens, in which a spelled-out special token is but text,
        and one end marker stands for all special tokens behind it. Raises ``AnnotationFailed``: ``unaligned``,
        ``too_long``, ``engine``.
        """
        prompt_ids, dropped = self._prompt(prompt, window.max_prompt_length)
        special = self._read_as_sent(completion)
        if special is None and not window.transfer:
            raise AnnotationFailed(
                FailureKind.UNALIGNED,
                f"{self._model.name} does not read the completion's tokens as the policy does: send token ids of "
                "its own tokenizer, or allow `transfer`",
            )
        body = self._kept(completion, special) if special is not None else self._transferred(completion)
        reading = self._joined(prompt_ids, dropped, body, closing and not completion.truncated)
        self._check(reading, window)
        return reading

    def prompt_ids(self, prompt: tuple[Message, ...]) -> list[int]:
        """A prompt as the model reads it."""
        return self._prompt(prompt, None)[0]

    def _prompt(self, prompt: tuple[Message, ...], longest: int | None) -> tuple[list[int], int]:
        ids, dropped = left_truncated(self._tokenizer, prompt, longest)
        if ids:
            return ids, dropped
        # The first token needs a place before it.
        first = _first(self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        if first is None:
            raise AnnotationFailed(
                FailureKind.ENGINE,
                f"the prompt is empty, and {self._model.name} has no token to begin or end a text with: send a prompt",
            )
        return [first], dropped

    def _read_as_sent(self, completion: Completion) -> frozenset[int] | None:
        """The indices of the special tokens, None where the model reads other characters in the ids."""
        sent = completion.alignment
        if sent.token_ids is None:
            return None
        try:
            read, special = self._policy.align(sent.token_ids, sent.text)
        except Unaligned:
            return None
        # Offsets come without a word on which tokens are special.
        same = read.token_spans == sent.token_spans and completion.special <= special
        return special if same else None

    def _kept(self, completion: Completion, special: frozenset[int]) -> "_Body":
        ids = completion.alignment.token_ids or ()
        content = _content(len(ids), special)
        return _Body(ids, tuple(range(len(ids))), content if content < len(ids) else None)

    def _transferred(self, completion: Completion) -> "_Body":
        try:
            own, _ = self._policy.encode(completion.text)
        except Unaligned as error:
            raise AnnotationFailed(
                FailureKind.UNALIGNED, f"the tokenizer of {self._model.name} cannot place the text: {error}"
            ) from error
        ids, places = own.token_ids or (), last_tokens(completion.alignment, own)
        content, eos = _content(len(completion), completion.special), self._tokenizer.eos_token_id
        marked = content < len(completion) and eos is not None
        if marked:
            places[content:] = [len(ids)] * (len(completion) - content)
            ids = (*ids, eos)
        return _Body(ids, tuple(places), content if marked else None, own)

    def _joined(self, prompt_ids: list[int], dropped: int, body: "_Body", closing: bool) -> Reading:
        start = len(prompt_ids)
        ids = (*prompt_ids, *body.ids)
        end = len(ids) - 1 if body.marker is None else start + body.places[body.marker]
        stop = len(ids) - (body.own is not None and body.marker is not None)
        eos = self._tokenizer.eos_token_id
        if closing and body.marker is None and eos is not None:
            ids, end = (*ids, eos), len(ids)
        intake = Intake(Usage(1, len(ids)), start, dropped, body.own is not None)
        places = tuple(start + place for place in body.places)
        return Reading(ids, start, stop, places, end, body.marker, body.own, intake)

    def _check(self, reading: Reading, window: Window) -> None:
        limit = _first(*sorted(bound for bound in (window.max_length, self._context) if bound is not None))
        if limit is not None and len(reading.ids) > limit:
            raise AnnotationFailed(
                FailureKind.TOO_LONG,
                f"the prompt has {reading.start} tokens and the completion {len(reading.ids) - reading.start}, end "
                f"marker included, but {self._model.name} may read {limit} in all: a completion is never cut, so "
                "lower `max_prompt_length`, which cuts the prompt's left, or raise `max_length` if the model allows",
            )
        # On CUDA such an id would end not one request but the process's use of the device.
        if max(reading.ids) >= self._vocabulary:
            raise AnnotationFailed(
                FailureKind.ENGINE,
                f"the tokenizer of {self._model.name} gave ids past the model's embeddings",
            )


@dataclass(frozen=True, slots=True)
class _Body:
    """A completion as the model reads it; ``places`` count from its first token."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    marker: int | None
    own: Alignment | None = None


def _plain(tokenizer: PreTrainedTokenizerBase, model: ModelRef) -> Tokenizer:
    """The bare tokenizer: it adds, cuts and pads nothing, and takes a special token spelled in a text for text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ValueError(
            f"the tokenizer of {model.name} cannot say which characters its tokens stand for: it needs a "
            "tokenizer.json"
        )
    plain = Tokenizer.from_str(backend.to_str())
    plain.no_padding()
    plain.no_truncation()
    plain.post_processor = None
    plain.encode_special_tokens = True
    return plain


def _content(tokens: int, special: frozenset[int]) -> int:
    """How many tokens there are before the special ones at the end."""
    while tokens and tokens - 1 in special:
        tokens -= 1
    return tokens


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
