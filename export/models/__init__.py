"""One file per model family, named after the ``model_type`` in the checkpoint's ``config.json``."""
