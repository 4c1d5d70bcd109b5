"""Bundle in, answers out: numpy, pillow, tokenizers and one backend; never torch or transformers."""

if __name__ != "clasp_trt.runtime":
    raise ImportError(f"this folder is the package clasp_trt.runtime: import that, not {__name__}")
