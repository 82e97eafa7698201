"""What ``assayd serve`` says of its port."""

import os
import socket
import subprocess
import sys


def test_a_port_that_is_taken_is_not_called_listened_on() -> None:
    """It ends with an error, and nobody was told that it listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "assayd", "serve", "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=120,
        )
    assert done.returncode > 0
    assert "address already in use" in done.stderr
    assert "listens on" not in done.stderr
