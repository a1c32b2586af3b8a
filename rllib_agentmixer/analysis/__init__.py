"""Checks of the theory and of results: equilibria of normal-form games, statistics over seeds."""
