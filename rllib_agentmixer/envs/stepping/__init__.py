"""From a PettingZoo environment to batched arrays of a team."""
