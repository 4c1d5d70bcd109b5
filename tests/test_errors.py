"""A message is one line of bounded length, whatever a library or a file put into it."""

from __future__ import annotations

from clasp_trt.errors import LONGEST, BackendError, ClaspError


def test_a_message_is_one_line() -> None:
    assert str(ClaspError("a\n  b\tc\r\n")) == "a b c"


def test_a_long_message_keeps_both_ends() -> None:
    message = str(BackendError("policy.json: " + "x" * 10**6 + "; rebuild the bundle"))
    assert len(message) <= LONGEST
    assert message.startswith("policy.json: xxx")
    assert message.endswith("; rebuild the bundle")
    assert str(ClaspError("y" * LONGEST)) == "y" * LONGEST
