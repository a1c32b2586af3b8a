"""Settings of the algorithms: default, meaning, unit, source and validation of each."""
