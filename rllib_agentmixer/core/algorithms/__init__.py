"""Entries of the registry: settings, team and learners of every algorithm."""
