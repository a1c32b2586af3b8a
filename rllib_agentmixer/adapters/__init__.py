"""RLlib wiring: adapters that move data between RLlib and the core, and no mathematics."""
