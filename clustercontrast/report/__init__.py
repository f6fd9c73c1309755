"""What a run shows at its end: tables of results and curves over the epochs."""
