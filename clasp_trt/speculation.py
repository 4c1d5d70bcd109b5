"""How many tokens may be proposed for one step."""

MOST = 7
"""Tokens that a step may verify beside the one that it computes anyway."""
