"""Arrays and tensors of a team: sizes, batches, and the layout of a joint observation."""
