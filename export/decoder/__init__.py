"""Decoder segments, written node by node from the weights."""
