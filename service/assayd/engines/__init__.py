"""Hosted models. Each is loaded only when chosen: ``ENGINES`` maps a name to an import string."""

from pathlib import Path
from typing import Final

POCKET_CRITIC: Final = Path(__file__).parents[1] / "pocket" / "critic"
"""The embedded critic's weights and tokenizer; the latter is also the service's own, for texts without tokens."""

ENGINES: Final[dict[str, str]] = {
    "pocket": "assayd.engines.pocket:PocketEngine",
    "transformers": "assayd.engines.transformers:TransformersEngine",
    "openai": "assayd.engines.openai:OpenAIEngine",
    "fake": "assayd.engines.fake:FakeEngine",
}
