"""Losses, returns, distributions and consistency as pure functions of tensors."""
