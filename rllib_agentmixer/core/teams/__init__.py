"""Team modules: the networks of a whole team, which an algorithm trains."""
