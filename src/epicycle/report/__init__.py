"""Sections rendered into one self-contained page."""
