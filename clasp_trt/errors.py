"""The mistakes a user can make, one class each.

``str(error)`` is one line: what is wrong, what was expected, what to do. The command line prints that line and exits
with ``exit_code``; anything else that escapes is our bug and shows its traceback.
"""

from __future__ import annotations

LONGEST = 2000
"""Characters of a message; of a longer one both ends are told, which name the place and the cure."""


class ClaspError(Exception):
    """Base of every error that a user can cause and mend."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())  # one line, whatever a library put into it
        if len(line) > LONGEST:
            line = f"{line[: LONGEST * 3 // 4]}...{line[-LONGEST // 5 :]}"
        super().__init__(line)


class PolicyError(ClaspError):
    """A policy file that breaks its schema, or a policy that does not fit the bundle."""


class ScheduleError(ClaspError):
    """A budget or pruning schedule that the model cannot follow."""


class TargetError(ClaspError):
    """An unknown target, or a backend or precision that is not legal there."""


class QuantizationError(ClaspError):
    """A rounding of weights that is unknown, or that a checkpoint or target cannot have."""


class SparsityError(ClaspError):
    """A share or pattern of zero weights that is unknown, or that a checkpoint cannot have."""


class CheckpointError(ClaspError):
    """A model folder or hub id that is not a checkpoint we can compile."""


class BundleError(ClaspError):
    """A bundle that cannot be opened or written; each malformation has a subclass in :mod:`clasp_trt.bundle`."""


class OutputError(ClaspError):
    """A destination that cannot be written, or that holds what must not be replaced."""


class ImageError(ClaspError):
    """An image that cannot be read or shown to the model."""


class PromptError(ClaspError):
    """A prompt that the model cannot take."""


class RequestError(ClaspError):
    """A request that another one ended, or that was interrupted."""


class BusyError(ClaspError):
    """A request that came while as many as may were answered or waited."""


class RouterError(ClaspError):
    """A router that cannot be opened or made, or that is not for the policy."""


class DataError(ClaspError):
    """A file of questions or prompts that cannot be used."""


class BackendError(ClaspError):
    """A backend that is missing or too old, or that refused a graph."""


class ShortageError(BackendError):
    """Memory that was asked for and not given; nothing is wrong with the bundle, the picture or the prompt."""


class MethodError(ClaspError):
    """An unknown pruning method, or one that the bundle cannot follow."""
