"""Retrieval metrics, who is searched among whom, and diagnostics of the clustering."""
