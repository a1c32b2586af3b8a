"""How an algorithm changes the weights of a team."""
