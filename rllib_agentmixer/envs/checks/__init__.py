"""Conformance, determinism and speed of environments."""
