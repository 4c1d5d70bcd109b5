"""The one part of a ``tokenizer.json`` that can end the process: SentencePiece's compiled normalizer.

It begins with the size of a table, for which the ``tokenizers`` library asks the memory before it looks how much
follows; what cannot be had there ends the process, and no handler is asked.
"""

from __future__ import annotations

import base64
import json

_KEY = "precompiled_charsmap"
_SIZE_BYTES = 4


def check_charsmaps(text: str) -> None:
    """Raises ``ValueError`` for a compiled normalizer in the JSON ``text`` that says it is larger than it is.

    Without one, and without an escape that could spell its name, the text is searched and not parsed.
    """
    if _KEY in text or "\\u" in text:
        try:
            json.loads(text, object_pairs_hook=_check)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _check(pairs: list[tuple[str, object]]) -> None:
    """Of an object, with keys that occur twice: the library reads each."""
    for key, value in pairs:
        if key == _KEY and isinstance(value, str):
            content = base64.b64decode(value)
            size = int.from_bytes(content[:_SIZE_BYTES], "little")
            if len(content) < _SIZE_BYTES or size > len(content) - _SIZE_BYTES:
                raise ValueError(f"its {_KEY} has {len(content)} bytes, but a table of {size} in them")
