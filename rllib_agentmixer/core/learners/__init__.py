"""Learners: how an algorithm updates the weights of a team."""
