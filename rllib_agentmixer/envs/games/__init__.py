"""Native environments with known rules and, where possible, known optima."""
