"""Checks of the theory and of results: equilibria of normal-form games, statistics over seeds."""

from rllib_agentmixer.analysis.games import GameAnalysis, from_algorithm

__all__ = ["GameAnalysis", "from_algorithm"]
