"""One module for each ``model_type``, with a function ``shape(name, source, config) -> ModelShape``."""
