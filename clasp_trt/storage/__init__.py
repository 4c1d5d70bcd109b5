"""Files, each mechanism once: strict JSON, journals, writing whole or not at all."""
