"""Every metric and the log format: the only place where their names are spelled."""

import logging
import sys
from enum import StrEnum
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class CacheOperation(StrEnum):
    """What was asked of the cache."""

    GET = "get"
    PUT = "put"
    PROBE = "probe"
    CLOSE = "close"


class CacheFault(StrEnum):
    """Why the cache was of no help."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    FULL = "full"
    REFUSED = "refused"
    RUBBISH = "rubbish"
    TOO_LARGE = "too_large"


class Telemetry:
    """The metrics of one service, in a registry of their own so that two services can share a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "assay_requests", "Calls answered", ["route", "status"], registry=self.registry
        )
        self.request_duration_s = Histogram(
            "assay_request_duration_seconds",
            "Time from the first byte of a call to its answer",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.rollouts = Counter(
            "assay_rollouts",
            "Rollouts answered; outcome is ok or the failure kind",
            ["method", "task", "outcome"],
            registry=self.registry,
        )
        self.rollouts_in_flight = Gauge(
            "assay_rollouts_in_flight", "Rollouts under judgement", registry=self.registry
        )
        self.cache_lookups = Counter(
            "assay_cache_lookups",
            "Where an answer came from: hit, miss or shared (in flight already)",
            ["result"],
            registry=self.registry,
        )
        self._cache_errors = Counter(
            "assay_cache_errors",
            "Commands to the cache that failed, and single values that were no good",
            ["operation", "reason"],
            registry=self.registry,
        )
        self.engine_tokens = Counter(
            "assay_engine_tokens", "Tokens read and written by the engines", ["kind"], registry=self.registry
        )

    def count_cache_error(self, operation: CacheOperation, fault: CacheFault) -> None:
        """One more failure of the cache; nobody who called has noticed it."""
        self._cache_errors.labels(operation, fault).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


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
