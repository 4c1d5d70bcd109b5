"""Numbers in English words, as ``num2words`` spells them, which prompts of some models hold."""

from __future__ import annotations

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def spelled(number: int) -> str:
    """``number``, 0 to 999, in words: ``one hundred and twenty-three``."""
    if not 0 <= number <= 999:
        raise ValueError(f"{number} is not 0 to 999")
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _below(rest)
    return f"{_SMALL[hundreds]} hundred" + (f" and {_below(rest)}" if rest else "")


def _below(number: int) -> str:
    if number < len(_SMALL):
        return _SMALL[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")
