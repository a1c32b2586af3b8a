"""The grids: one module per subject, plain data that is easy to adjust."""
