"""Rendered pedestrians in SYSU-MM01's raw layout: people, their figures, cameras, folders."""
