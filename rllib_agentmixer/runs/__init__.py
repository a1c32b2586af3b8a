"""A training run: its loop, checkpoints, progress and the Ray that it uses."""
