"""The only reader of environment and config file.

Every key is ``ASSAY_<SECTION>__<KEY>`` in the environment, or ``<key>`` under ``[<section>]`` in the TOML file
given with ``--config``; the environment wins.
"""

import glob
import ipaddress
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_PREFIX: Final = "ASSAY_"
_DELIMITER: Final = "__"


class Section(BaseModel):
    """A group of settings; an unknown key is a typing error, so it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineName(StrEnum):
    """The engines that ship."""

    POCKET = "pocket"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    OPENAI = "openai"
    FAKE = "fake"


class Determinism(StrEnum):
    """How much a rollout's numbers may depend on who else is asking.

    ``none``: by rounding. ``bucketed``: rows are read in a few fixed shapes, so nearly never. ``strict``: not by a bit.
    """

    NONE = "none"
    BUCKETED = "bucketed"
    STRICT = "strict"

    def named(self, numbers: str) -> str:
        """The numbers that an engine computes in at this level, as recipes name them."""
        return numbers if self is Determinism.NONE else f"{numbers} {self}"


class ServerSettings(Section):
    """Where the service listens and how much it takes in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    max_body_mb: float = Field(64.0, gt=0)
    max_arriving_mb: float = Field(1024.0, gt=0)
    """Of all bodies that are being received at once; what would be more is refused with 503."""
    max_rollouts: int = Field(4096, ge=1)
    """Rollouts under judgement at once, over all calls; a call with more than this alone is refused."""
    max_completion_chars: int = Field(250_000, ge=1)
    """Of one completion, in characters or tokens; a rollout with a longer one fails alone. Aligning takes its time."""
    max_prompt_chars: int = Field(2_000_000, ge=1)
    """The same for a prompt, and for a reference."""
    max_queued_tokens: int = Field(4_000_000, ge=1)
    """Tokens that may wait for one engine; beyond that, tenants with more than their share of it are refused."""
    default_timeout_s: float = Field(60.0, gt=0)
    header_timeout_s: float = Field(10.0, gt=0)
    """The longest that the headers of a call may take to arrive."""
    body_timeout_s: float = Field(60.0, gt=0)
    """The longest that the body of a call may take to arrive, all of it; then 408."""
    answer_timeout_s: float = Field(60.0, gt=0)
    """The longest that a client may take to read its answer; then the connection is cut."""
    keep_alive_s: int = Field(75, ge=1)
    """How long a connection may be idle: longer than what stands in front keeps it (nginx: 60 s), or calls get lost."""
    max_connections: int = Field(2048, ge=1)
    """Open at once; on one more, calls are answered 503, and probes as ever."""
    drain_s: float = Field(5.0, ge=0)
    """How long calls are taken after SIGTERM, `/readyz` being red: as long as a load balancer needs to notice."""
    tokenizers: tuple[str, ...] | None = None
    """Policy tokenizers that calls may name, `*` in a name any characters: `["Qwen/*", "/models/*"]`.

    Absent, any while only this machine can call (it listens on loopback and nobody has a key), else none: to name one
    makes the service read a folder, or download from the hub. The one of `compat` need not be listed."""

    @property
    def on_loopback(self) -> bool:
        """Whether other machines cannot reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class VllmSettings(Section):
    """What holds for a model on the vllm engine only."""

    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    """Share of each of its GPUs that weights and key-value cache may fill; vLLM's own default when absent."""
    tensor_parallel_size: int = Field(1, ge=1)
    """Over how many GPUs each layer is split."""
    devices: str | None = Field(None, pattern=r"^\d+(,\d+)*$")
    """Numbers of the GPUs it lives on, such as `0` or `2,3`; the first ones when absent."""
    adapters: dict[str, str] = {}
    """Folders of LoRA adapters by task: a critic's tasks, or `locate` and `fix` of a rewriter."""
    sleep_mode: bool = False
    """Whether `POST /sleep` may make it let go of its GPU memory until `POST /wake_up`."""
    engine_args: dict[str, Any] = {}
    """Any other of vLLM's engine arguments, by its own name (`max_num_seqs`, `quantization`, `enforce_eager`)."""


class EngineSettings(Section):
    """One hosted model. ``section`` says which one, where the engine has to choose by itself."""

    section: ClassVar[str] = "critic"

    engine: EngineName = EngineName.POCKET
    model: str | None = None
    """Hub name, local folder, or the name an OpenAI-compatible server knows it by."""
    revision: str | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = Field(None, ge=1)
    determinism: Determinism = Determinism.NONE
    """`strict`: the same numbers to the last bit, alone or in company; `bucketed`: nearly always, in few shapes."""
    allow_pickle: bool = False
    """Read PyTorch's own weight files (`.bin`) where a model has no safetensors; their format can carry code."""
    max_in_flight: int | None = Field(None, ge=1)
    """Requests inside an engine that batches by itself; more wait outside, where each tenant has its turn.

    When absent 256 for openai, `max_num_seqs` for vllm. The other engines take in what fits into their batches."""
    vllm: VllmSettings = VllmSettings()


class SegmentSettings(EngineSettings):
    """The segment reward model, or any reward model whose scalar is to be spread, and what goes with it."""

    section: ClassVar[str] = "segment"

    entropy_model: str | None = None
    """Language model that weighs entropies; without one, rollouts must bring theirs."""
    entropy_revision: str | None = None
    entropy_engine: EngineName | None = None
    """What hosts it, if not the same engine; `transformers` for vllm, whose entropies are approximations."""
    cutoff: float | None = Field(None, ge=0)
    """Default `c_ent` (nats); else the model's own, else 1.75."""
    normalizer: str | None = None
    """File of `assayd fit-normalizer`, a shipped name, or `none`; without one, each call has to name its own."""


class RewriterSettings(EngineSettings):
    """The model that corrects solutions and, on an engine that weighs tokens, pays them (GRM)."""

    section: ClassVar[str] = "rewriter"

    reference_model: str | None = None
    """The policy before its training, for the log-probabilities that RLMEC's trainer wants; same engine."""
    reference_revision: str | None = None
    check_hook: str | None = None
    """``module:function`` called as ``function(text, gold)`` by verification in mode `hook`: True, False or None."""


class RewardSettings(EngineSettings):
    """One reward model that puts a number on whole completions."""

    section: ClassVar[str] = "sequence"

    engine: EngineName = EngineName.TRANSFORMERS
    activation: Literal["sigmoid", "raw"] = "sigmoid"
    """What is done to its score unless a call says otherwise."""
    read: Literal["end", "segments", "pair"] | None = None
    """`end`: on the end marker; `segments`: the mean over the segments it was trained on; by its card when absent.

    `pair`: prompt and completion as two texts, by a sequence classifier such as BERT that reads both ways."""
    center: float | None = None
    """What is taken off its score before the activation: a model trained on pairs knows no zero. 0 when absent."""
    scale: float | None = Field(None, gt=0)
    """What the rest is divided by; 1 when absent."""
    label: str | None = None
    """Name or number of the output that is rewarded, where a classifier read by `pair` has several."""
    entropy_model: str | None = None
    """Where its segments are cut by entropy: the language model that weighs them, on the same engine."""
    entropy_revision: str | None = None


class ValueSettings(EngineSettings):
    """The reference policy (`model`) and the folder of the value head on it."""

    section: ClassVar[str] = "sequence"

    head: str | None = None


class SequenceSettings(RewardSettings):
    """The reward model of whole completions, others beside it, and what a reward is compared with."""

    engine: EngineName = EngineName.POCKET
    components: dict[str, RewardSettings] = {}
    """More reward models, by the names that calls know them by; the one above is `reward`."""
    hooks: dict[str, str] = {}
    """Functions by name: ``module:function``, called as ``function(prompt, completion, reference)``, gives a number."""
    document_frequencies: str | None = None
    """File of `assayd train document-frequencies`, for tf-idf diversity; without one all words are equally rare."""
    value_model: str | None = None
    """Folder of a value head (`assayd train value`); the embedded one on the embedded engine when absent."""
    value_base: str | None = None
    """The reference policy that the head was trained on, where it is not found under the name in the head's card."""
    value_base_revision: str | None = None
    reference_model: str | None = None
    """The reference policy itself, for `return_ref_logprob`; the embedded one on the embedded engine when absent."""
    reference_revision: str | None = None


class ImplicitSettings(EngineSettings):
    """The two language models of the implicit reward; without them the method is not served."""

    engine: EngineName = EngineName.TRANSFORMERS
    reference_model: str | None = None
    reference_revision: str | None = None


class CacheSettings(Section):
    """Where finished annotations are remembered."""

    url: str = "memory://"
    """`memory://`, or Redis: `redis://host:6379/0`, `rediss://...` over TLS, `unix:///path/of/socket`."""
    password: SecretStr | None = None
    """Redis' password, where it should not stand in the URL."""
    ttl_s: float = Field(86_400.0, gt=0)
    max_mb: float = Field(256.0, gt=0)
    """Of the store in memory. Redis bounds itself: `maxmemory`, with `maxmemory-policy allkeys-lru`."""
    max_value_mb: float = Field(4.0, gt=0)
    """Redis is not bothered with an annotation that is larger than this before compression."""
    timeout_s: float = Field(0.25, gt=0)
    """The longest that one command to Redis may take before the service goes on without it.

    A call is looked up by commands for 32 rollouts each, four at a time: a Redis that is gone costs it this once."""


class HealthSettings(Section):
    """How it is noticed that a hosted model is not what it was, and how long an item that breaks one is kept apart."""

    canaries: Path | None = None
    """File with each model's answer to its canary: written when a model is first hosted, compared ever after.

    Without one, answers are remembered as long as the service runs. Those of the embedded models come with them."""
    interval_s: float = Field(60.0, gt=0)
    """How often each model is asked its canary: one small question."""
    quarantine_s: float = Field(600.0, gt=0)
    """How long a rollout on which an engine failed by itself is answered as failed, without asking the engine."""


class DriftSettings(Section):
    """When the rewards of a tenant's task are no longer what they were; what each alarm means is in docs/metrics.md."""

    window: int = Field(1000, ge=10)
    """Rollouts that are looked at together; the first so many are what later ones are compared with."""
    collapse_zero_rate: float = Field(0.95, gt=0, le=1)
    """Collapse: this share of the rollouts earns exactly nothing, or all of them earn the same."""
    saturation_spread: float = Field(0.25, ge=0)
    """Saturation: the mean has moved by a standard deviation or more, and the spread shrunk to this share of it."""
    length_correlation: float = Field(0.7, gt=0, le=1)
    """Length hacking: rewards and lengths go together at least so closely..."""
    length_growth: float = Field(1.25, gt=1)
    """...and completions are this many times as long as at first, or as short."""


class TracingSettings(Section):
    """Where spans go."""

    endpoint: str | None = Field(None, pattern=r"^https?://")
    """An OpenTelemetry collector that speaks OTLP over HTTP, such as `http://collector:4318`; no spans when absent."""
    sample: float = Field(1.0, ge=0, le=1)
    """Share of the calls that are traced, unless the caller's `traceparent` decides."""


class TenantsSettings(Section):
    """Who may call."""

    path: Path | None = None
    """File of `assayd tenants`. Without one nobody shows a key, and the service listens on loopback only."""


class CompatSettings(Section):
    """What other servers' wire formats cannot say: who judges, and what becomes of the rewards of the tokens."""

    method: Literal["critic", "grm", "segment", "prefix_diff", "attention", "implicit_prm", "sequence"] = (
        "segment"
    )
    """Who judges; `sequence` gives one reward a completion and none to its tokens."""
    task: str = "math-steps"
    """What the critic looks for, where it is the one who judges."""
    options: dict[str, Any] = {}
    """Options of that method, as its own route takes them."""
    aggregation: Literal["sum", "mean", "last", "min"] = "sum"
    """How the rewards of the tokens become one number. `sum` is the return of an episode paid token by token."""
    tokenizer: str | None = None
    """The policy's tokenizer, by which texts are cut and ids are read; without it, texts by the service's own."""
    tokenizer_revision: str | None = None
    on_failure: Literal["error", "null"] = "error"
    """`null`: a rollout that could not be judged is answered as having no reward, in the formats that can say so.

    `error`, and all other formats: the call fails."""
    template: Literal["auto", "chatml", "llama3", "phi3", "gemma", "mistral", "deepseek"] = "auto"
    """Whose chat markers tell prompt and completion apart in one running text; `auto`: those that are in it."""
    turn: Literal["only", "last"] = "only"
    """Which of the assistant's turns is the completion; `only` refuses a text in which there are several."""
    completion_start: str | None = Field(None, min_length=1)
    """What stands before the completion in running texts without such markers: `\\nAssistant:`, for example."""
    completion_end: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """End markers that are no part of a completion, besides those of the chat templates."""
    reference_field: str = "expected_answer"
    """The field of NeMo-Gym's rows that holds the reference."""


class Settings(BaseSettings):
    """All of Assay's settings."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER, extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    critic: EngineSettings = EngineSettings()
    segment: SegmentSettings = SegmentSettings()
    implicit: ImplicitSettings = ImplicitSettings()
    rewriter: RewriterSettings = RewriterSettings()
    sequence: SequenceSettings = SequenceSettings()
    cache: CacheSettings = CacheSettings()
    health: HealthSettings = HealthSettings()
    tenants: TenantsSettings = TenantsSettings()
    drift: DriftSettings = DriftSettings()
    tracing: TracingSettings = TracingSettings()
    compat: CompatSettings = CompatSettings()

    @property
    def tokenizers(self) -> tuple[str, ...] | None:
        """Patterns of the policy tokenizers that calls may name, None where they may name any."""
        alone = self.server.on_loopback and self.tenants.path is None
        if self.server.tokenizers is None and alone:
            return None
        own = self.compat.tokenizer
        return (*(self.server.tokenizers or ()), *(() if own is None else (glob.escape(own),)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file named by ``toml_file``."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: Path | None = None) -> Settings:
    """Read environment and ``config``.

    Raises ``FileNotFoundError`` for a missing file, pydantic's ``ValidationError`` for a wrong key or value, and
    ``ValueError`` for a variable of a section that there is not: pydantic passes those over.
    """
    for variable in os.environ:
        before, _, asked = variable.upper().partition(_PREFIX)
        section = asked.partition(_DELIMITER)[0]
        if not before and _DELIMITER in variable and section.lower() not in Settings.model_fields:
            known = ", ".join(name.upper() for name in Settings.model_fields)
            raise ValueError(f"{variable}: there is no section {section}, only {known}")
    if config is None:
        return Settings()
    if not config.is_file():
        raise FileNotFoundError(f"no config file at {config}")

    class SettingsWithFile(Settings):
        model_config = SettingsConfigDict(**{**Settings.model_config, "toml_file": config})

    return SettingsWithFile()
