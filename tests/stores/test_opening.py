"""Which cache a service opens."""

import pytest

from assayd.app import create_app
from assayd.settings import CacheSettings, Settings


async def test_an_unknown_scheme_is_refused_without_its_password() -> None:
    """The error names the scheme and those that exist."""
    app = create_app(Settings(cache=CacheSettings(url="memcached://:hunter2@host")))
    with pytest.raises(ValueError, match=r"'memcached'.*memory, redis, rediss, unix") as refused:
        async with app.router.lifespan_context(app):
            pass
    assert "hunter2" not in str(refused.value)
