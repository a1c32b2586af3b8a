"""Hyperparameter search with Ray Tune: spaces in words, schedulers, resume, reports."""
