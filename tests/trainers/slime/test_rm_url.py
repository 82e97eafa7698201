"""slime's own ``remote_rm`` asks the service, and its sample reads the reward out of the answer."""

from argparse import Namespace
from collections.abc import Callable

import aiohttp
import pytest
from slime.rollout import rm_hub
from slime.utils.types import Sample

ZEBRA = "No, you zebra."


def arguments(url: str) -> Namespace:
    """The command line: ``--rm-type remote_rm --rm-url ... --reward-key score``."""
    return Namespace(rm_type="remote_rm", rm_url=f"{url}/remote_rm", reward_key="score", custom_rm_path=None)


@pytest.fixture(autouse=True)
async def _session() -> None:
    """Let its shared session end with the loop that it belongs to."""
    yield
    await rm_hub._get_shared_session().close()


async def test_the_reward_arrives(foreign: Callable[..., str]) -> None:
    """Prompts as text and as messages; the whole answer is the reward, and its key gives the number."""
    args = arguments(foreign(aggregation="min"))
    messages = [{"role": "user", "content": "Are you a zebra?"}]
    samples = [
        Sample(prompt="Are you a zebra?", response=ZEBRA, label="horse"),
        Sample(prompt=messages, response=ZEBRA, label=None),
        Sample(prompt=messages, response="A horse.<|im_end|>", label=None),
    ]
    for sample in samples:
        sample.reward = await rm_hub.async_rm(args, sample)
    assert [sample.get_reward_value(args) for sample in samples] == [-0.5, -0.5, 0.0]
    assert len({frozenset(sample.reward) for sample in samples}) == 1
    assert await rm_hub.batched_async_rm(args, samples) == [sample.reward for sample in samples]


async def test_a_failure_is_an_error_or_null(foreign: Callable[..., str]) -> None:
    """By default its client raises; asked for null, the sample's reward is None, which no tensor takes for 0."""
    sample = Sample(prompt="Hm?", response="unspeakable", label=None)
    with pytest.raises(aiohttp.ClientResponseError, match="422"):
        await rm_hub.remote_rm(arguments(foreign(aggregation="min")), sample, max_retries=1)
    args = arguments(foreign(aggregation="min", on_failure="null"))
    sample.reward = await rm_hub.remote_rm(args, sample, max_retries=1)
    assert sample.get_reward_value(args) is None
