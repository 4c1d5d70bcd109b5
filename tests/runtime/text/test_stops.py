"""Stop strings: nothing of one is ever shown, and nothing before it is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.runtime.text.stops import StopStrings

LETTERS = ["a", "b", "ab", "ba", "aab", "", "ä"]


def spelled(id: int) -> bytes:
    return LETTERS[id].encode()


def run(strings: list[str], prompt: list[int], tokens: list[int]) -> tuple[str, int, bool]:
    """What is shown, after how many tokens it ended, and whether by a string."""
    stops = StopStrings(strings, spelled, prompt)
    shown = b""
    for count, token in enumerate(tokens, 1):
        shown += b"".join(map(spelled, stops.push(token)))
        if stops.found:
            return shown.decode() + stops.rest, count, True
    return (shown + b"".join(map(spelled, stops.finish()))).decode(), len(tokens), False


@given(
    st.lists(st.text("abä", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 6), max_size=3),
    st.lists(st.integers(0, 6), max_size=12),
)
@settings(max_examples=500, deadline=None)
def test_an_answer_ends_with_the_first_token_that_completes_a_string(
    strings: list[str], prompt: list[int], tokens: list[int]
) -> None:
    before = "".join(LETTERS[id] for id in prompt)
    text, ended, shown = before, len(tokens), None
    for count, token in enumerate(tokens, 1):
        start = len(text)
        text += LETTERS[token]
        found = [
            at for each in strings for at in range(len(text)) if text.startswith(each, at) and at + len(each) > start
        ]
        if found:
            ended, shown = count, text[len(before) : max(len(before), min(found))]
            break
    expected = (text[len(before) :], ended, False) if shown is None else (shown, ended, True)
    assert run(strings, prompt, tokens) == expected


def test_only_what_may_begin_a_string_is_held_back() -> None:
    stops = StopStrings(["bab"], spelled, [])
    assert [stops.push(id) for id in (0, 1, 0, 0, 1)] == [[0], [], [], [1, 0, 0], []]
    assert stops.finish() == [1]


def test_a_character_that_is_cut_is_not_shown() -> None:
    """A string of one byte of two cannot be; but one may end within a token, whose rest is dropped."""
    assert run(["aa"], [], [2, 4]) == ("ab", 2, True)
    assert run(["b"], [], [6, 2]) == ("äa", 2, True)
