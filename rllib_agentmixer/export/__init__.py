"""Deployment of a trained team: export folders, ONNX graphs and MLflow's model registry."""

from .policies import export_policies

__all__ = ["export_policies"]
