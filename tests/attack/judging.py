"""What holds: a right answer, or our own error in one line."""

from __future__ import annotations

from clasp_trt.errors import LONGEST, ClaspError


def of_error(error: ClaspError) -> str | None:
    """What is wrong with an error that a user is shown."""
    line = str(error)
    if not line or len(line.splitlines()) != 1:
        return f"an error of {len(line.splitlines())} lines: {line[:200]!r}"
    if len(line) > LONGEST:
        return f"an error of {len(line)} characters: {line[:200]!r}"
    return None


def of_command(code: int, said: str, allowed: tuple[int, ...]) -> str | None:
    """What is wrong with how a command ended, by its exit code and standard error."""
    if "Traceback" in said or code not in allowed:
        return f"exit code {code}, expected {allowed}: {said[-300:]!r}"
    if code == 2 and (said.count("\n") != 1 or not said.startswith("error: ")):
        return f"not one line of error: {said[-300:]!r}"
    return None
