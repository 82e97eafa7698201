"""What the routes ask of the rest of the service; ``runtime`` provides it and ``app`` hands it over."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request

from ..admission import Admission
from ..annotators import rewriting
from ..annotators.options import CriticOptions, Mode
from ..annotators.probing import ProbeOptions
from ..annotators.segment_options import Method, SegmentOptions
from ..annotators.sequence import SequenceOptions, SequenceScorer
from ..domain.annotation import SegmentAnnotation, TokenAnnotation
from ..domain.failure import Failure
from ..domain.ports import Annotator, Tended
from ..domain.provenance import ModelRef
from ..domain.readiness import Readiness
from ..domain.rewriting import ProbeAnnotation, RewriteAnnotation
from ..domain.rollout import Completion
from ..domain.text import Alignment
from ..doorkeeper import Doorkeeper
from ..engines.tokenizers import RawCompletion
from ..pipeline import Pipeline
from ..settings import Settings
from ..telemetry import Telemetry


class House(Protocol):
    """A running service, without HTTP."""

    @property
    def settings(self) -> Settings:
        """What the service was started with."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """Its metrics."""
        ...

    @property
    def admission(self) -> Admission:
        """Who may come in."""
        ...

    @property
    def pipeline(self) -> Pipeline:
        """The road from rollouts to results."""
        ...

    @property
    def doorkeeper(self) -> Doorkeeper:
        """Who knows which calls come in vain just now."""
        ...

    async def critic(
        self, task: str, mode: Mode, options: CriticOptions, tokenizer: ModelRef | None
    ) -> Annotator[TokenAnnotation]:
        """The annotator for one call; raises ``Rejected`` when the critic does not know the task."""
        ...

    async def segment_scorer(
        self, method: Method, mode: Mode, options: SegmentOptions, tokenizer: ModelRef | None
    ) -> Annotator[SegmentAnnotation]:
        """The annotator for one call; raises ``Rejected`` for options that do not go together."""
        ...

    async def sequence_scorer(
        self, mode: Mode, options: SequenceOptions, tokenizer: ModelRef | None
    ) -> SequenceScorer:
        """The annotator for one call; raises ``Rejected`` for options that do not go together."""
        ...

    async def prober(
        self, mode: Mode, options: ProbeOptions, tokenizer: ModelRef | None
    ) -> Annotator[ProbeAnnotation]:
        """The annotator for one call; raises ``Rejected`` where no model weighs tokens."""
        ...

    async def rewriter(
        self,
        method: rewriting.Method,
        mode: Mode,
        options: rewriting.RewriteOptions,
        tokenizer: ModelRef | None,
        *,
        task: str,
        rubric: str | None,
    ) -> Annotator[RewriteAnnotation]:
        """The annotator for one call; raises ``Rejected`` for options that do not go together."""
        ...

    async def tokenizer(self, name: str, revision: str | None) -> ModelRef:
        """The policy tokenizer, loaded and pinned; raises ``Rejected`` when it cannot be had."""
        ...

    @property
    def segment_tokenizer(self) -> tuple[str, str | None] | None:
        """Name and revision of what cuts texts without tokens for the segment model; None: the service's own."""
        ...

    @property
    def sequence_tokenizer(self) -> tuple[str, str | None] | None:
        """The same for the sequence reward models."""
        ...

    async def align(
        self,
        completions: Sequence[RawCompletion],
        tokenizer: ModelRef | None,
        *,
        own: tuple[str, str | None] | None = None,
    ) -> list[Completion | Failure]:
        """Tokens and characters brought together, or the reason why not."""
        ...

    async def read(self, sent: str | Sequence[int], tokenizer: ModelRef | None) -> Alignment:
        """The tokens of one running text, or the text of token ids, special tokens kept as text.

        Raises ``Unaligned`` for what has no such reading.
        """
        ...

    @property
    def sleepers(self) -> Sequence[Tended]:
        """The engines that may be sent to sleep, each once."""
        ...

    async def readiness(self) -> Readiness:
        """Each part by name, and whether it can answer."""
        ...

    def drain(self) -> None:
        """Say that no calls should come any more; those that come are answered as ever."""
        ...

    async def info(self) -> Mapping[str, Any]:
        """Models, prompts and limits, as plain JSON values."""
        ...


def house_of(request: Request) -> House:
    """The running service that answers this request."""
    house: House = request.state.house
    return house
