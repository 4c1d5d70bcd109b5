"""``data:`` URLs of every legal spelling, and base64 as clients write it."""

from __future__ import annotations

import base64
import urllib.parse

import pytest

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.texts import from_base64, from_data_url
from tests.mistakes import says

DATA = bytes(range(256)) * 3 + b"\xfb\xff"  # one of each byte, padded, and with signs of both alphabets
TEXT = base64.b64encode(DATA).decode()
SAFE = base64.urlsafe_b64encode(DATA).decode()
WRAPPED = base64.encodebytes(DATA).decode().replace("\n", "\r\n")
LIMIT = 1 << 16


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:image/png;charset=utf-8;name=a.png;base64,{TEXT}",
        f"data:image/png ; base64 ,{TEXT}",
        f"data:text/plain;base64,{TEXT}",
        f"data:image/png;base64,{urllib.parse.quote(TEXT, safe='')}",
        f"data:image/png;base64,{urllib.parse.quote(WRAPPED)}",
        f"data:image/png;base64,{SAFE}",
        f"data:image/png;base64,{TEXT.rstrip('=')}",
        f"data:image/png;base64,{WRAPPED}",
        f"data:image/png;base64, {TEXT[:9]}\t{TEXT[9:]}\f",
        f"data:image/png;base64,{TEXT}#part",
        f"data:image/png,{urllib.parse.quote(DATA, safe='')}",
        f"data:,{urllib.parse.quote(DATA)}",
    ],
    ids=range(15),
)
def test_spellings_of_a_data_url(url: str) -> None:
    assert from_data_url(url, LIMIT) == DATA


@pytest.mark.parametrize("text", [TEXT, SAFE, SAFE.rstrip("="), WRAPPED, TEXT + "==", " ".join(TEXT)])
def test_spellings_of_base64(text: str) -> None:
    assert from_base64(text, LIMIT, "it") == DATA


@pytest.mark.parametrize("text", ["A", TEXT[:9] + "=" + TEXT[9:], "AAA!", "AAAé", "AAA\0", "AA*A", "%41%41"])
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        from_base64(text, LIMIT, "it")
    says(caught, "base64")


def test_a_data_url_without_a_comma() -> None:
    with pytest.raises(ImageError) as caught:
        from_data_url("data:image/png;base64" + TEXT, LIMIT)
    says(caught, "comma")


@pytest.mark.parametrize("head", ["data:;base64,", "data:,"])
def test_both_forms_are_bounded_by_their_bytes(head: str) -> None:
    body = TEXT if "base64" in head else urllib.parse.quote(DATA, safe="")
    assert from_data_url(head + body, len(DATA)) == DATA
    with pytest.raises(ImageError) as caught:
        from_data_url(head + body, len(DATA) - 1)
    says(caught, "over")
