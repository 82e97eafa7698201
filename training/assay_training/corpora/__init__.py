"""Generators of unlimited training and held-out items for the embedded models, seeded and split."""
