"""Adapters to environments of other packages."""
