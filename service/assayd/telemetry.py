"""Every metric and the log format: the only place where their names are spelled."""

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

log = structlog.get_logger()

_FRAMES: Final = 3
"""Of an error, in the log."""

LATENCY_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Subject(NamedTuple):
    """Whose rollouts, by which method, in which task (empty where the method has none)."""

    tenant: str
    method: str
    task: str


class CacheOperation(StrEnum):
    """What was asked of the cache."""

    GET = "get"
    PUT = "put"
    CLAIM = "claim"
    PROBE = "probe"
    CLOSE = "close"


class ClaimOutcome(StrEnum):
    """Who did a piece of work that several services may have been asked for at once.

    Taken over is what another had claimed and not finished; alone works who cannot ask, or has waited long enough.
    """

    WORKED = "worked"
    SHARED_ACROSS = "shared_across"
    TAKEN_OVER = "taken_over"
    ALONE = "alone"


class CacheFault(StrEnum):
    """Why the cache was of no help."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    FULL = "full"
    REFUSED = "refused"
    RUBBISH = "rubbish"
    TOO_LARGE = "too_large"


class QuarantineEvent(StrEnum):
    """What became of a rollout that breaks an engine."""

    KEPT = "kept"
    REFUSED = "refused"


class Telemetry:
    """The metrics of one service, in a registry of their own so that two services can share a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "assay_requests",
            "Calls answered; who was not let in has no tenant, and no route",
            ["route", "status", "tenant"],
            registry=self.registry,
        )
        self.request_duration_s = Histogram(
            "assay_request_duration_seconds",
            "Time from the first byte of a call to its answer",
            ["route", "tenant"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.rollouts = Counter(
            "assay_rollouts",
            "Rollouts answered; outcome is ok or the failure kind",
            [*Subject._fields, "outcome"],
            registry=self.registry,
        )
        self.rollouts_in_flight = Gauge(
            "assay_rollouts_in_flight", "Rollouts under judgement", ["tenant"], registry=self.registry
        )
        self.quotas_shared = Gauge(
            "assay_quotas_shared",
            "Whether quotas are counted in Redis, together with other services; 0: in this one's memory",
            registry=self.registry,
        )
        self.connections = Gauge("assay_connections", "Open connections", registry=self.registry)
        self.cache_lookups = Counter(
            "assay_cache_lookups",
            "Where an answer came from: hit, miss or shared (in flight already)",
            ["tenant", "result"],
            registry=self.registry,
        )
        self.claims = Counter(
            "assay_cache_claims",
            "Misses among services on one cache: worked, taken_over or alone here, or shared_across, judged elsewhere",
            ["outcome"],
            registry=self.registry,
        )
        self._cache_errors = Counter(
            "assay_cache_errors",
            "Commands to the cache that failed, and single values that were no good",
            ["operation", "reason"],
            registry=self.registry,
        )
        self.canary_sound = Gauge(
            "assay_canary_sound",
            "Whether a hosted model answers its canary as it once did",
            ["engine"],
            registry=self.registry,
        )
        self.quarantine = Counter(
            "assay_quarantine",
            "Rollouts that broke an engine: kept apart, and refused when they came again",
            ["event"],
            registry=self.registry,
        )
        self.engine_tokens = Counter(
            "assay_engine_tokens",
            "Tokens read and written by the engines, for rollouts that were judged",
            ["tenant", "kind"],
            registry=self.registry,
        )
        self._engines: Mapping[str, Any] = {}

    def watch(self, engines: Mapping[str, Any]) -> None:
        """Tell of hosted models, by what they are for: whether they can answer, and what they count themselves.

        Of an engine that dies and is started again, ``outage``, ``restarts`` and ``registry`` are read.
        """
        self._engines = engines
        self.registry.register(_Engines(engines))
        self.registry.register(_Lines(engines))

    def watch_drift(self, figures: Callable[[], "Mapping[Subject, DriftFigures]"]) -> None:
        """Tell of rewards, by tenant, method and task."""
        self.registry.register(_Drift(figures))

    def count_cache_error(self, operation: CacheOperation, fault: CacheFault) -> None:
        """One more failure of the cache; nobody who called has noticed it."""
        self._cache_errors.labels(operation, fault).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, those of the engines among them."""
        own = {
            id(one): one for engine in self._engines.values() if (one := getattr(engine, "registry", None))
        }
        return generate_latest(_Together((self.registry, *own.values())))


@dataclass(frozen=True, slots=True, eq=False)
class _Engines(Collector):
    """What is read off the hosted models when somebody asks."""

    engines: Mapping[str, Any]

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("assay_engine_up", "Whether a hosted model can answer", labels=["engine"])
        restarts = CounterMetricFamily(
            "assay_engine_restarts", "How often its engine was started again", labels=["engine"]
        )
        for use, engine in self.engines.items():
            up.add_metric([use], float(getattr(engine, "outage", None) is None))
            restarts.add_metric([use], float(getattr(engine, "restarts", 0)))
        return up, restarts


@dataclass(frozen=True, slots=True, eq=False)
class _Lines(Collector):
    """What waits in front of the hosted models, read off when somebody asks. A model with several uses has one line."""

    engines: Mapping[str, Any]

    def collect(self) -> Iterable[Metric]:
        by_tenant = ["engine", "tenant"]
        requests = GaugeMetricFamily(
            "assay_queue_requests", "Requests that wait for an engine", labels=by_tenant
        )
        tokens = GaugeMetricFamily("assay_queue_tokens", "What they are estimated to cost", labels=by_tenant)
        waits = SummaryMetricFamily(
            "assay_queue_wait_seconds", "How long those that were taken had waited", labels=by_tenant
        )
        refused = CounterMetricFamily(
            "assay_queue_refused", "Requests refused because they would have waited in vain", labels=by_tenant
        )
        runs = SummaryMetricFamily(
            "assay_engine_run_seconds", "How long those that left an engine had been inside", labels=by_tenant
        )
        answered = CounterMetricFamily(
            "assay_engine_answered",
            "Requests that an engine has answered; the others failed, or were called off",
            labels=by_tenant,
        )
        batches = CounterMetricFamily(
            "assay_batch_tokens", "Places in batches, of tokens and of padding", labels=["engine", "kind"]
        )
        lines = {
            id(line): (use, line)
            for use, engine in self.engines.items()
            if (line := getattr(engine, "line", None)) is not None
        }
        for use, line in lines.values():
            figures = line.figures()
            for tenant, (jobs, cost) in figures.waiting.items():
                requests.add_metric([use, tenant], jobs)
                tokens.add_metric([use, tenant], cost)
            for tenant, served in figures.served.items():
                waits.add_metric([use, tenant], served.taken, served.waited_s)
                refused.add_metric([use, tenant], served.refused)
                runs.add_metric([use, tenant], served.left, served.worked_s)
                answered.add_metric([use, tenant], served.answered)
            batches.add_metric([use, "real"], figures.real_tokens)
            batches.add_metric([use, "padding"], figures.padded_tokens - figures.real_tokens)
        return requests, tokens, waits, refused, runs, answered, batches


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """The rewards of one tenant's task over a window of rollouts; see docs/metrics.md. Lengths are tokens."""

    mean: float
    spread: float
    sign_balance: float
    zero_rate: float
    length_mean: float
    length_correlation: float
    shift: float
    alarms: Mapping[str, bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Drift(Collector):
    """What is reckoned from the last rewards when somebody asks."""

    figures: Callable[[], Mapping[Subject, DriftFigures]]

    def collect(self) -> Iterable[Metric]:
        told = {
            "mean": "Mean of what rollouts earned",
            "spread": "Its standard deviation",
            "sign_balance": "Share of rollouts that earned something, less the share that lost something",
            "zero_rate": "Share of rollouts that earned exactly nothing",
            "length_mean": "Mean length of their completions, in tokens",
            "length_correlation": "How closely earnings and lengths go together",
            "shift": "How far the mean is from that of the first window, in that window's standard deviations",
        }
        families = {
            name: GaugeMetricFamily(f"assay_reward_{name}", text, labels=Subject._fields)
            for name, text in told.items()
        }
        alarms = GaugeMetricFamily(
            "assay_reward_alarm",
            "Whether rewards have collapsed, saturated, or follow length",
            labels=[*Subject._fields, "alarm"],
        )
        for subject, figures in self.figures().items():
            for name, family in families.items():
                family.add_metric(subject, getattr(figures, name))
            for alarm, on in figures.alarms.items():
                alarms.add_metric([*subject, alarm], float(on))
        return *families.values(), alarms


@dataclass(frozen=True, slots=True)
class _Together:
    """Several registries as one: two engines of a kind count under the same names."""

    registries: tuple[CollectorRegistry, ...]

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for registry in self.registries:
            for family in registry.collect():
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield from families.values()


def withheld(event: str, error: BaseException, **fields: object) -> str:
    """Log a foreign error and where it was raised, and give what callers may know of it: its name.

    What libraries say holds folders, addresses and keys of this machine, or quotes the rollout, which no log holds: it
    is logged only where a caller of this passes it on, as ``said``.
    """
    log.warning(event, error=type(error).__name__, where=raised_at(error), **fields)
    return f"{type(error).__name__} (the service's log says more)"


def raised_at(error: BaseException) -> list[str]:
    """Where it was raised, innermost frames only: what may be logged of an error that may quote a rollout."""
    return traceback.format_tb(error.__traceback__)[-_FRAMES:]


def configure_logging(level: int = logging.INFO) -> None:
    """Log events with fields as JSON lines on standard error; never a prompt or a completion."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
