"""Tokens that are likely to follow, from where a model is not asked: a step then computes several at once."""
