"""Where finished annotations are remembered: byte stores behind one protocol.

Each is loaded only when chosen: ``STORES`` maps the scheme of ``cache.url`` to an import string.
"""

_REDIS = "assayd.stores.redis:RedisStore"

STORES: dict[str, str] = {
    "memory": "assayd.stores.memory:MemoryStore",
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
}
