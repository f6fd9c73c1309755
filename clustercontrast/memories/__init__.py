"""Memories: rows that features are contrasted with."""
