"""Faults in the launches of plugins that take any number of tokens."""

from __future__ import annotations

from tests.mutations.table import Mutation

RECIPE, SELECTION = "clasp_trt/plugins/launch/recipe.py", "clasp_trt/plugins/launch/selection.py"
PROGRAM, PLUGIN, LAUNCHER = (f"clasp_trt/plugins/{name}.py" for name in ("program", "plugin", "launcher"))
IN_RECIPE, IN_PLANS = ("tests/plugins/launch/test_recipe.py",), ("tests/plugins/launch/test_launch.py",)
IN_PROGRAM, IN_PLUGIN = ("tests/plugins/test_program.py",), ("tests/plugins/test_plugin.py",)
IN_LAUNCHER = ("tests/plugins/test_launcher.py",)
COUNTED = "sizes.update(zip(port.axes, shape, strict=True))"
GROWS = "if launch.shared_bytes > self._shared[launch.kernel]:"

RECIPES = (
    Mutation("a quotient rounded down", RECIPE, "-(-left // right)", "left // right", IN_RECIPE),
    Mutation("as many is less", RECIPE, "int(left < right)", "int(left <= right)", IN_RECIPE),
    Mutation("a launch over no blocks", RECIPE, " if 0 not in launch.grid", "", IN_RECIPE),
    Mutation("a part that is not aligned", RECIPE, "size_bytes.over(ALIGNMENT) * ALIGNMENT", "size_bytes", IN_RECIPE),
    Mutation("a row of itself", RECIPE, "get(Rule(rule), index)", "get(Rule(rule), index + 1)", IN_RECIPE),
    Mutation("one plane of sums", SELECTION, "tokens.over(MAX_PLANE_TOKENS)", "sheet.number(1)", IN_PLANS),
    Mutation(
        "chunks of clusters left out", SELECTION, "tiles * planes * keep.over(_CHUNK)", "tiles * planes", IN_PLANS
    ),
    Mutation("all are kept by choosing", SELECTION, "keep.below(tokens)", "keep.below(tokens + 1)", IN_PLANS),
    Mutation(
        "more may stay than there are", PROGRAM, "1 <= keep <= tokens <= self.most", "tokens <= self.most", IN_PROGRAM
    ),
    Mutation("a workspace for the usual", PLUGIN, "dynamic.max for dynamic", "dynamic.opt for dynamic", IN_PLUGIN),
    Mutation("no sizes of a request", PLUGIN, COUNTED, "pass", IN_PLUGIN),
    Mutation("shared memory that shrinks", LAUNCHER, GROWS, GROWS.replace(">", "!="), IN_LAUNCHER),
    Mutation("every shape is worked out anew", LAUNCHER, "lru_cache(SHAPES)", "lru_cache(0)", IN_LAUNCHER),
)
