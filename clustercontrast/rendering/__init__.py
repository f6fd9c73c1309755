"""Rendered pedestrians in SYSU-MM01's raw layout: people, the six cameras, the folders and lists."""
