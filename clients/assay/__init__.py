"""Assay, the client that trainers import. It needs httpx and nothing else."""

__version__ = "0.1.0"
