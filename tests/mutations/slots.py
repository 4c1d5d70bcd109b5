"""Faults in what keeps the requests of one step apart."""

from __future__ import annotations

from tests.mutations.table import Mutation

SLOTS_FILE, STEPS, IN_ENGINE = "runtime/slots.py", "runtime/steps.py", ("tests/runtime/engine/test_engine.py",)
MOVED, CLEARED = "self._caches.move(last.slot, sequence.slot)", "self._caches.clear(slot)"
PLACED = "last.slot = last, sequence.slot"
KEPT_PLACE = "last.slot = last, last.slot"
ROWS = "{draft: _slotted(draft).slot for draft in going}"
PROPOSED = ("tests/runtime/test_speculation.py",)

SLOTS = (
    Mutation("a slot that is filled with nothing", SLOTS_FILE, MOVED, "pass", IN_ENGINE),
    Mutation("a slot that keeps an overflow", SLOTS_FILE, CLEARED, "pass", IN_ENGINE),
    Mutation("a sequence that moves and does not know", SLOTS_FILE, PLACED, KEPT_PLACE, IN_ENGINE),
    Mutation(
        "scores of the slots before anybody moved",
        STEPS,
        ROWS,
        "{draft: at for at, draft in enumerate(going[::-1])}",
        IN_ENGINE,
    ),
    Mutation(
        "what a slot knows stays when it is filled anew",
        SLOTS_FILE,
        "self._known[sequence.slot] = self._known[last.slot]",
        "pass",
        IN_ENGINE,
    ),
    Mutation("wrong rows that stay", STEPS, "_slotted(draft).forget(len(ids) - len(found))", "pass", PROPOSED),
    Mutation("a row that counts after a wrong token", STEPS, "or event.token != following", "", PROPOSED),
    Mutation("rows that are proposed beyond the end", "runtime/draft.py", "self.limit - len(self.ids)", "9", PROPOSED),
    Mutation("rows at one position", "runtime/decoder.py", "+ np.arange(rows)", "+ np.zeros(rows, int)", PROPOSED),
)
