"""The demo: one small checkpoint built at several budgets, asked the same questions, and a picture of what was kept.

Like the compiler and the command line, this package stands above export, engines and runtime. It makes and computes;
``clasp_trt.cli.demo`` does the talking.
"""
