"""What is done to logits before a token is chosen, on the host, in numpy and in transformers' order."""
