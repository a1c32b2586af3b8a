"""What an algorithm trains: the networks of a whole team as one module."""
