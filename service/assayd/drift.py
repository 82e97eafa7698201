"""Whether rewards still say what they said: per tenant and task, over a sliding window, with alarms.

What a rollout earned is the sum of what its tokens were judged to be worth (the extrinsic reward is not ours), or its
one reward. Definitions and thresholds: docs/metrics.md.
"""

from collections.abc import Iterable
from enum import StrEnum
from math import fsum

import structlog

from .domain.annotation import SegmentAnnotation, TokenAnnotation
from .domain.ports import Annotation
from .domain.rewriting import ProbeAnnotation
from .domain.rollout import Rollout
from .domain.sequence import SequenceAnnotation
from .moments import Moments, SlidingMoments
from .settings import DriftSettings
from .telemetry import DriftFigures, Subject, Telemetry

log = structlog.get_logger()


class Alarm(StrEnum):
    """What may have gone wrong with a training, as seen from its rewards."""

    COLLAPSE = "collapse"
    SATURATION = "saturation"
    LENGTH_HACKING = "length_hacking"


class _Watched:
    def __init__(self, window: int) -> None:
        self.recent = SlidingMoments(window)
        self.positive = self.negative = 0
        self.reference: Moments | None = None
        self.alarms: frozenset[Alarm] = frozenset()

    def add(self, earned: float, length: int) -> None:
        gone = self.recent.add(earned, length)
        self.positive += earned > 0
        self.negative += earned < 0
        if gone is not None:
            self.positive -= gone[0] > 0
            self.negative -= gone[0] < 0

    @property
    def figures(self) -> DriftFigures:
        n = len(self.recent)
        now = self.recent.moments()
        first = self.reference
        return DriftFigures(
            mean=now.mean_x,
            spread=now.std_x,
            sign_balance=(self.positive - self.negative) / n,
            zero_rate=(n - self.positive - self.negative) / n,
            length_mean=now.mean_y,
            length_correlation=now.correlation,
            shift=(now.mean_x - first.mean_x) / first.std_x if first is not None and first.std_x else 0.0,
            alarms={alarm: alarm in self.alarms for alarm in Alarm},
        )


class Drift:
    """Looks at all that is judged."""

    def __init__(self, settings: DriftSettings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._watched: dict[Subject, _Watched] = {}
        telemetry.watch_drift(self.figures)

    def observe(self, subject: Subject, judged: Iterable[tuple[Rollout, Annotation]]) -> None:
        """Take in what was judged of one call; what has no rewards, such as a rewrite, is passed over."""
        watched = self._watched.get(subject, _Watched(self._settings.window))
        for rollout, annotation in judged:
            earned = earned_by(annotation)
            if earned is not None:
                watched.add(earned, len(rollout.completion))
        if not watched.recent:
            return
        self._watched[subject] = watched
        if len(watched.recent) == self._settings.window:
            self._tell(subject, watched)

    def figures(self) -> dict[Subject, DriftFigures]:
        """How things stand with everybody."""
        return {subject: watched.figures for subject, watched in self._watched.items()}

    def _tell(self, subject: Subject, watched: _Watched) -> None:
        if watched.reference is None:
            watched.reference = watched.recent.moments()
        figures = watched.figures
        alarms = raised(figures, watched.reference, self._settings)
        for alarm in alarms ^ watched.alarms:
            log.warning(
                "reward_alarm",
                alarm=alarm,
                on=alarm in alarms,
                **subject._asdict(),
                mean=figures.mean,
                spread=figures.spread,
                zero_rate=figures.zero_rate,
                length_correlation=figures.length_correlation,
            )
        watched.alarms = alarms


def raised(now: DriftFigures, first: Moments, settings: DriftSettings) -> frozenset[Alarm]:
    """The alarms that a full window gives, beside the first one."""
    alarms = set()
    if now.zero_rate >= settings.collapse_zero_rate or now.spread == 0.0:
        alarms.add(Alarm.COLLAPSE)
    elif abs(now.shift) >= 1 and now.spread <= settings.saturation_spread * first.std_x:
        alarms.add(Alarm.SATURATION)
    grown = now.length_mean / first.mean_y if first.mean_y else 1.0
    with_length = now.length_correlation if grown >= 1 else -now.length_correlation
    if with_length >= settings.length_correlation and max(grown, 1 / grown) >= settings.length_growth:
        alarms.add(Alarm.LENGTH_HACKING)
    return frozenset(alarms)


def earned_by(annotation: Annotation) -> float | None:
    """What a rollout earned; None where it was not rewarded."""
    match annotation:
        case TokenAnnotation() | SegmentAnnotation() | ProbeAnnotation():
            return fsum(annotation.intrinsic)
        case SequenceAnnotation():
            return annotation.reward
    return None
