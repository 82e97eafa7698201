"""A Redis of one's own, that may be killed, frozen, filled and started again."""

from pathlib import Path

import redis

from .processes import Process, free_port, program


class RedisServer(Process):
    """A ``redis-server`` that remembers nothing when it is started again; ``client`` sees what services wrote."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__([program("redis-server"), *options], folder / "redis.log", port)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port, socket_timeout=5, protocol=2)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def fill(self) -> None:
        """It is full: every write is refused, every read answered."""
        self.client.config_set("maxmemory-policy", "noeviction")
        self.client.config_set("maxmemory", "1")

    def empty_out(self) -> None:
        """It has room again."""
        self.client.config_set("maxmemory", "0")

    def names(self) -> list[bytes]:
        """What is stored, probes and claims aside."""
        every = self.client.scan_iter()
        return [name for name in every if not name.endswith(b":probe") and b":claim:" not in name]

    def claims(self) -> list[bytes]:
        """What is worked on just now."""
        return [name for name in self.client.scan_iter() if b":claim:" in name]
