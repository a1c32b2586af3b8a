"""Hyperparameter search with Ray Tune: search spaces, schedulers, resumption and reports."""
