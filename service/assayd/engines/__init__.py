"""Hosted models. Each is loaded only when chosen: ``ENGINES`` maps a name to an import string."""

ENGINES: dict[str, str] = {
    "pocket": "assayd.engines.pocket:PocketEngine",
    "transformers": "assayd.engines.transformers:TransformersEngine",
    "openai": "assayd.engines.openai:OpenAIEngine",
    "fake": "assayd.engines.fake:FakeEngine",
}
