"""Drawing primitives: arrays in, axes out."""
