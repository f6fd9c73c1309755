"""Memories: rows that features are contrasted with, of clusters, images or classes."""
