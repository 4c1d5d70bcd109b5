"""clasp-tiny: a small LLaVA that this project trains on ShapesVQA, its own pictures and questions.

``python -m examples.clasp_tiny OUT`` trains it from nothing and writes a Hugging Face checkpoint that stock
transformers loads. README.md says how, and what the model is not for.
"""
