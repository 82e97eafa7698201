"""Assay, the service: every token of a rollout judged, with a number and a reason."""

__version__ = "0.1.0"
