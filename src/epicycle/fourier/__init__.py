"""Bases, spectra, measures, bands, planes, nulls: arrays in, arrays out."""
