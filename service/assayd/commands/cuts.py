"""Ways to cut, as they are written on the command line: ``entropy:1.75``, ``token``, ``bandit``, ``fixed:32`` ..."""

import typer

from ..annotators.cutting import BoundaryMode, Cut, Segmenter

CUT_HELP = "entropy:<nats>, sentence, step, fixed:<tokens>, token or bandit"


def cut_of(written: str) -> Cut:
    """The way to cut that is written; a usage error where it cannot be read."""
    name, _, number = written.partition(":")
    try:
        if name in (BoundaryMode.TOKEN, BoundaryMode.BANDIT) and not number:
            return Cut(boundary_mode=BoundaryMode(name))
        match Segmenter(name):
            case Segmenter.ENTROPY:
                return Cut(c_ent=float(number))
            case Segmenter.FIXED:
                return Cut(segmenter=Segmenter.FIXED, segment_length=int(number))
            case plain if not number:
                return Cut(segmenter=plain)
    except ValueError:
        pass
    raise typer.BadParameter(f"{written!r} is no way to cut: write {CUT_HELP}", param_hint="--cut")
