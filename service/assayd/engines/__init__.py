"""Hosted models. Each is loaded only when chosen: ``ENGINES`` maps a name to the module that hosts them.

A module exports a class for each thing its models can do: ``Generator`` (``Generates``), ``SegmentScorer``
(``ScoresSegments`` and ``Attends``), ``TokenWeigher`` (``WeighsTokens``), ``PairScorer`` (``ScoresPairs``),
``PromptValuer`` (``ValuesPrompts``). Each opens with ``await Class.open(settings)``.
"""

from pathlib import Path
from typing import Final

_POCKET: Final = Path(__file__).parents[1] / "pocket"

POCKET_CRITIC: Final = _POCKET / "critic"
"""The embedded critic's weights and tokenizer; the latter is also the service's own, for texts without tokens."""
POCKET_SEGMENT: Final = _POCKET / "segment"
"""The embedded segment reward model."""
POCKET_SEGMENT_CENTER: Final = 11.0
POCKET_SEGMENT_SCALE: Final = 3.0
"""The middle between right and wrong completions of its own worlds, and a share of the way between them."""
POCKET_ENTROPY: Final = _POCKET / "entropy"
"""The embedded language model that says where a policy was unsure."""
POCKET_REWRITER: Final = _POCKET / "rewriter"
"""The embedded rewriter."""
POCKET_VALUE: Final = _POCKET / "value"
"""The embedded value head, over the embedded language model."""
POCKET_NORMALIZER: Final = _POCKET / "normalizer.json"
"""What `assayd fit-normalizer` made of the embedded segment model's rewards."""
POCKET_CANARIES: Final = _POCKET / "canaries.json"
"""What the embedded models answer to their canary: `make canaries`."""

ENGINES: Final[dict[str, str]] = {
    "pocket": "assayd.engines.pocket",
    "transformers": "assayd.engines.transformers",
    "vllm": "assayd.engines.vllm",
    "openai": "assayd.engines.openai",
    "fake": "assayd.engines.fake",
}
