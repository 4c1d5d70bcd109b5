"""What ``drive.cpp`` does with the C++ plugins, done with the launcher of the Python ones through cuda-bindings.

``python drive.py PLUGIN TOKENS,KEEP.. < FIELDS``, with shapes and fields as there.
"""

from __future__ import annotations

import sys

import numpy as np

from clasp_trt.plugins import load_driver
from clasp_trt.plugins.launcher import Launcher
from clasp_trt.plugins.program import read


def main() -> None:
    fields = {}
    for line in sys.stdin:
        name, kind, content = line.split()
        fields[name] = np.frombuffer(bytes.fromhex(content), np.int32 if kind == "i" else np.int8)
    made = read(sys.argv[1], fields)
    shapes = [tuple(map(int, shape.split(","))) for shape in sys.argv[2:]]
    inputs, outputs = (0x10000, 0x20000, 0x50000)[: len(made.contract.inputs)], len(made.contract.outputs)
    print(f"workspace {made.workspace_bytes(*shapes[0])} outputs {outputs}")
    for name, values in made.fields().items():
        print(f"field {name} {len(values)}")
    driver = load_driver()
    sys.stdout.flush()  # the driver writes to the same place
    for _ in range(2):
        launcher = Launcher(made, driver)
        for tokens, keep in shapes:
            try:
                launcher((tokens, keep), inputs, (0x30000, 0x40000)[:outputs], 0x7F0000000000, 0x1234)
            except ValueError:
                print("refused", flush=True)
        launcher.close()


main()
