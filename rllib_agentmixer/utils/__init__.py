"""Files, manifests, suggestions and figures."""
