"""TensorRT plugins of the two operators of domain ``clasp``.

A plugin is a *program*: cubins, and the launches that were planned for its sizes when it was built, or a recipe of them
for any. The engine holds the program, so whoever runs it plans nothing and compiles nothing: the Python plugins here
and the C++ ones of ``engines/plugins`` read the same fields. The TensorRT module is passed in, and CUDA's driver is
loaded when the first execution context is made, so that importing this package loads neither.
"""

from __future__ import annotations

from clasp_trt.plugins.driver import load_driver
from clasp_trt.plugins.fields import Image
from clasp_trt.plugins.program import FixedProgram, Program, VaryingProgram
from clasp_trt.plugins.registry import register

__all__ = ["FixedProgram", "Image", "Program", "VaryingProgram", "load_driver", "register"]
