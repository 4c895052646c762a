"""Residues and their logarithms: integers in, integers out."""
