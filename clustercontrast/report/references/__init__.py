"""Figures that others published, one file per kind of source.  Pure data."""
