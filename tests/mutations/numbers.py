"""Faults in what depends on how many visual tokens a picture has, and in what a user's text may spell."""

from __future__ import annotations

from tests.mutations.table import Mutation

ANSWERS, CANDIDATES = "clasp_trt/tools/calibrate/answers.py", "clasp_trt/tools/calibrate/candidates.py"
SIZES, SPELLS, SPECIAL = "clasp_trt/tools/profile/sizes.py", "runtime/text/tokenizer.py", "runtime/text/special.py"
ANY, SPENT = (
    "range(1, max(schedule.keeps, default=0) + 1) if varies else schedule.keeps",
    "self._room -= encoded.nbytes",
)
SQUAREST, IN_OTHERS = "long / short < squarest[found][0]", "written in here or written in same"
OFFERED = "for layer in range(layers - 1) if layer not in avoided"
SETTINGS = "if has_image_settings(checkpoint) else description"

IN_CANDIDATES, IN_VARYING = ("tests/tools/calibrate/test_candidates.py",), ("tests/tools/calibrate/test_varying.py",)
IN_SPECIAL, IN_SCHEDULE = ("tests/runtime/text/test_special.py",), ("tests/test_schedule.py",)

NUMBERS = (
    Mutation("ratios alike by the largest picture", CANDIDATES, ANY, "schedule.keeps", IN_CANDIDATES),
    Mutation("features are kept without end", ANSWERS, SPENT, "self._room -= 0", IN_VARYING),
    Mutation("the most slender picture", SIZES, SQUAREST, "long / short > 1", ("tests/tools/profile/test_sizes.py",)),
    Mutation("special tokens in other characters", SPELLS, IN_OTHERS, "written in here", IN_SPECIAL),
    Mutation("special tokens in parts", SPECIAL, '"".join(', '" ".join(', IN_SPECIAL),
    Mutation("stages in a window", "clasp_trt/schedule.py", OFFERED, "for layer in range(layers - 1)", IN_SCHEDULE),
    Mutation(
        "pictures as large as the published ones",
        "export/family.py",
        SETTINGS,
        "if not description.images else description",
        ("tests/export/test_folders.py",),
    ),
)
