"""Acting, collecting, playing and evaluating with a team. Free of Ray."""
