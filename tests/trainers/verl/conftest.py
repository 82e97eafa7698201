"""Run where the package is installed: what it sends and reads is its own code."""

import importlib
import warnings
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("verl") else ["test_*.py"]

if find_spec("verl"):
    with warnings.catch_warnings():  # what its imports call forth is not ours
        warnings.simplefilter("ignore")
        importlib.import_module("verl.experimental.reward_loop.reward_loop")
