"""``build``: a checkpoint, or a portable bundle, becomes a bundle for one target."""
