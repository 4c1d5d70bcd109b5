"""What ``drive.cpp`` does with the C++ plugins, done with the launcher of the Python ones through cuda-bindings.

``python drive.py PLUGIN < FIELDS``, with fields as there.
"""

from __future__ import annotations

import sys

import numpy as np

from clasp_trt.plugins import Program, load_driver
from clasp_trt.plugins.launcher import Launcher


def main() -> None:
    fields = {}
    for line in sys.stdin:
        name, kind, content = line.split()
        fields[name] = np.frombuffer(bytes.fromhex(content), np.int32 if kind == "i" else np.int8)
    made = Program.read(sys.argv[1], fields)
    outputs = sum(spec.is_output for spec in made.plan.tensors)
    print(f"workspace {made.plan.workspace_bytes} outputs {outputs}")
    for name, values in made.fields().items():
        print(f"field {name} {len(values)}")
    driver = load_driver()
    sys.stdout.flush()  # the driver writes to the same place
    for _ in range(2):
        launcher = Launcher(made, driver)
        launcher([0x10000, 0x20000], [0x30000, 0x40000][:outputs], 0x7F0000000000, 0x1234)
        launcher.close()


main()
