"""The graphs that prune: similarities, selection, and the rows that stay."""
