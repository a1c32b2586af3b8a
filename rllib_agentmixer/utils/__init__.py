"""Utilities: atomic file writes, manifests, error suggestions and figures."""
