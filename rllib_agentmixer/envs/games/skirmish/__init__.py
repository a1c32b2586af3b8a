"""Battles of unlike units by SMAX's rules."""
