"""Retrieval metrics, query and gallery sets, and diagnostics of the clustering."""
