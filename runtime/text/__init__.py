"""Prompts in, answers out: chat templates, token ids, and the rows that they take."""
