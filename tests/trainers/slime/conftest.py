"""Run where slime is on the path (a checkout; what PyPI calls slime is another package)."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("slime") and find_spec("slime.rollout") else ["test_*.py"]
