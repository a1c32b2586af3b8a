"""Conversion of PettingZoo environments to batched team arrays."""
