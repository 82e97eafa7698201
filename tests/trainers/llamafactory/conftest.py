"""Run where the package is installed: what it sends and reads is its own code."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("llamafactory") else ["test_*.py"]
