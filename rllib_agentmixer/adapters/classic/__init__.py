"""RLlib's classic API stack."""
