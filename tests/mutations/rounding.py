"""Faults in how weights become integers, by the nearest and by calibration, and in how they are read back."""

from __future__ import annotations

from tests.mutations.table import Mutation

COMPENSATION, CALIBRATED = "export/weights/compensation.py", "export/calibrated.py"
NEAREST, PACKING, HELD, LAID_OUT = (f"export/weights/{name}.py" for name in ("rounding", "packing", "held", "integers"))
READ_BACK, COMPARED = (f"clasp_trt/tools/verify/{name}.py" for name in ("integers", "calibrated"))
LATER, SAME_RUN = "weights[:, last:] -= errors", "weights[:, column + 1 : last] -= torch.outer"
STAYS, HALF = "stays = weights[:, part] if zeros", "2 ** (self.bits - 1)"
HALVES, MIDDLE = "_paired(octets[0::2], octets[1::2])", "np.subtract(values, self._middle,"

IN_COMPENSATION, IN_CALIBRATED = ("tests/export/weights/test_compensation.py",), ("tests/export/test_calibrated.py",)
IN_NEAREST, IN_HELD = ("tests/export/weights/test_rounding.py",), ("tests/export/weights/test_held.py",)
IN_VERIFY = ("tests/tools/verify/test_integers.py",)

ROUNDING = (
    Mutation(
        "later inputs make up for nothing", COMPENSATION, LATER, "weights[:, last:] -= 0 * errors", IN_COMPENSATION
    ),
    Mutation(
        "the same run makes up for nothing", COMPENSATION, SAME_RUN, f"{SAME_RUN[:-11]}0 * torch.outer", IN_COMPENSATION
    ),
    Mutation("a scale of what was stored", COMPENSATION, STAYS, STAYS.replace("weights", "matrix", 1), IN_COMPENSATION),
    Mutation("every input counts alike", COMPENSATION, ".square() @ weigh", ".square().sum(1)", IN_COMPENSATION),
    Mutation("no damping", COMPENSATION, "DAMP * diagonal.mean()", "0 * diagonal.mean()", IN_COMPENSATION),
    Mutation("layers are fed by floats", CALIBRATED, "Parameter(after,", "Parameter(before,", IN_CALIBRATED),
    Mutation(
        "the last request alone counts",
        CALIBRATED,
        "addmm_(rows.T, rows)",
        "addmm_(rows.T, rows, beta=0)",
        IN_CALIBRATED,
    ),
    Mutation("scales of one integer more", NEAREST, "np.float32(self._most)", "np.float32(self._most + 1)", IN_NEAREST),
    Mutation("zero points are added", PACKING, "values.short() - torch", "values.short() + torch", IN_HELD),
    Mutation("another middle", HELD, MIDDLE, "np.subtract(values, self._middle - 1,", IN_HELD),
    Mutation("halves of a byte change places", LAID_OUT, HALVES, "_paired(octets[1::2], octets[0::2])", IN_NEAREST),
    Mutation("integers read back beside themselves", READ_BACK, f"- {HALF}).as", f"- {HALF} + 1).as", IN_VERIFY),
    Mutation("any integers will do", COMPARED, "!= self._made[name].sha256", "is None", IN_VERIFY),
)
