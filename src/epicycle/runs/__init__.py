"""The run directory: atomic writes, checkpoints that are checked, resume."""
