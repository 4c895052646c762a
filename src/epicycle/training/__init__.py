"""The loops and the exact step."""
