"""vLLM's own metrics, under their own names, one registry an engine.

vLLM registers them with the process's registry and takes off those of any engine before: with two engines the first
would fall silent.
"""

from prometheus_client import REGISTRY, CollectorRegistry
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import PrometheusStatLogger


def private_metrics() -> tuple[type[PrometheusStatLogger], CollectorRegistry]:
    """A logger that counts for one engine, and the registry that it counts in."""
    registry = CollectorRegistry()

    class PrivateStatLogger(PrometheusStatLogger):  # type: ignore[misc]  # vLLM is not installed where types are checked
        def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
            super().__init__(vllm_config, engine_indexes)
            _move(registry)

    return PrivateStatLogger, registry


def _move(registry: CollectorRegistry) -> None:
    # prometheus_client names no way to list collectors; vLLM takes its own off in the same manner.
    for collector in list(REGISTRY._collector_to_names):
        if str(getattr(collector, "_name", "")).startswith("vllm:"):
            REGISTRY.unregister(collector)
            registry.register(collector)
