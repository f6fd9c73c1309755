"""Rendered pedestrians in the raw layouts of datasets: persons, their figures, cameras, folders."""
