"""An engine whose library is not installed."""

from importlib.util import find_spec

import pytest

from assayd.hosting import Hosting
from assayd.settings import EngineName, EngineSettings


@pytest.mark.skipif(find_spec("vllm") is not None, reason="it is installed")
async def test_the_error_says_what_to_install() -> None:
    """And not only which module Python did not find."""
    async with Hosting() as hosting:
        with pytest.raises(ValueError, match=r"pip install 'assay\[vllm\]'"):
            await hosting.open(EngineSettings(engine=EngineName.VLLM, model="x"), "Generator")
