"""Many configurations to many runs."""
