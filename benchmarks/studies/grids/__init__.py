"""Grids of the studies: one module per subject, as plain data."""
