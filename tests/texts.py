"""Texts of mixed lengths for shows and benchmarks, no two alike."""

import random

WORDS = "the cat sat on a mat and then ran away from two small dogs who were eating 12 apples in their garden".split()


def mixed(mark: str, dice: random.Random) -> str:
    """``mark`` and some words: a tenth of such texts are under 10 words, half under 60, the longest 300."""
    words = min(300, int(dice.lognormvariate(4.0, 0.9)) + 3)
    return f"{mark} " + " ".join(dice.choices(WORDS, k=words))
