"""The policy: exact numbers, a strict round trip, and a named place for every malformation."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt import policy
from clasp_trt.errors import PolicyError
from clasp_trt.policy import Category, Policy

EPS = float(np.finfo(np.float32).eps)


def ratios() -> st.SearchStrategy[Decimal]:
    """Decimals of 0 to 12 places in [0, 1]."""
    return st.integers(0, 12).flatmap(lambda d: st.integers(0, 10**d).map(lambda n: Decimal(n).scaleb(-d)))


def names() -> st.SearchStrategy[str]:
    printable = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and text.strip())
    return printable.filter(lambda text: text != "default")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    layers = tuple(sorted(draw(st.sets(st.integers(0, 50), min_size=1, max_size=6))))
    number = st.floats(allow_nan=False, allow_infinity=False)
    scores = st.tuples(*[number] * len(layers))
    titles = [*draw(st.lists(names(), max_size=5, unique=True)), "default"]
    scalars = st.none() | st.booleans() | st.integers() | number | st.text(max_size=10)
    notes = draw(st.dictionaries(names().filter(lambda name: name != "kind"), scalars, max_size=3))
    return Policy(
        layers=layers,
        tau=draw(st.floats(min_value=5e-324, allow_infinity=False)),
        threshold=draw(st.floats(0, 1)),
        categories=tuple(Category(title, draw(scores), draw(ratios())) for title in titles),
        provenance={"kind": draw(st.sampled_from(policy.KINDS)), **notes},
    )


def with_ratio(ratio: str) -> Policy:
    return Policy((3,), 1.0, 0.5, (Category("default", (0.0,), Decimal(ratio)),), {"kind": "user"})


@given(policies())
def test_text_round_trip_is_exact(original: Policy) -> None:
    text = original.dumps()
    again = Policy.loads(text)
    assert again == original
    assert again.dumps() == text
    assert Policy.loads(text.encode()) == Policy.from_json(original.to_json()) == original


def test_a_large_decimal_ratio_floors_exactly() -> None:
    assert with_ratio("0.29").pivot_counts(0, (100,)) == (29,)  # in floating point: 28
    assert with_ratio("0.999999999999").pivot_counts(0, (2**31 - 1,)) == (2**31 - 2,)
    assert with_ratio("0").pivot_counts(0, (7,)) == (0,)
    assert with_ratio("1").pivot_counts(0, (7, 5)) == (7, 5)


@given(ratios(), st.lists(st.integers(1, 2**31 - 1), max_size=4))
def test_pivot_counts_are_exact(ratio: Decimal, keeps: list[int]) -> None:
    row = Category("default", (0.0,), ratio)
    counts = Policy((3,), 1.0, 0.5, (row,), {"kind": "user"}).pivot_counts(0, keeps)
    assert counts == tuple(Fraction(ratio) * keep // 1 for keep in keeps)


@given(policies())
def test_alpha_is_a_convex_combination(drawn: Policy) -> None:
    for category in range(len(drawn.categories)):
        alpha = drawn.alpha(category)
        assert alpha.dtype == np.float32
        assert alpha.shape == (len(drawn.layers),)
        assert (alpha >= 0).all()
        # Each weight is rounded to float32 once, by half an eps of its size at most: eps/2 of their sum.
        assert abs(alpha.sum(dtype=np.float64) - 1) <= EPS / 2 + len(alpha) * np.finfo(np.float32).tiny
        if len(alpha) == 1:
            assert alpha[0] == 1.0


def test_alpha_is_the_softmax_of_tau_times_scores() -> None:
    row = Category("default", (0.1, 0.0, 0.9), Decimal("0.5"))
    alpha = Policy((3, 12, 23), 10.0, 0.5, (row,), {"kind": "calibrated"}).alpha(0)
    expected = np.exp([1.0, 0.0, 9.0]) / np.exp([1.0, 0.0, 9.0]).sum()
    np.testing.assert_allclose(alpha, expected, rtol=EPS)


def test_prior_reads_the_feature_layer() -> None:
    prior = policy.prior((3, 12, 23), 23)
    assert not prior.calibrated
    assert prior.provenance["kind"] == "prior"
    assert prior.tau == 10.0
    assert tuple(row.name for row in prior.categories) == policy.CATEGORY_NAMES
    assert tuple(row.ratio for row in prior.categories) == policy.SPLIT_RATIOS
    assert prior.default_category == policy.DEFAULT_CATEGORY == 8
    other = np.exp(-10.0)
    for category in range(9):
        np.testing.assert_allclose(prior.alpha(category), np.array([other, other, 1]) / (1 + 2 * other), rtol=EPS)
    assert policy.prior((23,), 23).alpha(8).tolist() == [1.0]
    assert Policy.loads(prior.dumps()) == prior


def test_split_ratios_are_table_6() -> None:
    counts = [policy.prior((1,), 1).pivot_counts(category, (300, 200, 110)) for category in range(9)]
    shares = [8, 4, 7, 7, 7, 6, 8, 2, 9]
    assert counts == [tuple(share * keep // 10 for keep in (300, 200, 110)) for share in shares]


def test_prior_needs_its_feature_layer() -> None:
    with pytest.raises(PolicyError, match="feature layer 23"):
        policy.prior((3, 12), 23)


@pytest.mark.parametrize("category", [-1, 9, True, 1.0, None])
def test_category_out_of_range(category: Any) -> None:
    prior = policy.prior((23,), 23)
    with pytest.raises(PolicyError, match=r"category.*0 to 8"):
        prior.alpha(category)
    with pytest.raises(PolicyError, match=r"category.*0 to 8"):
        prior.pivot_counts(category, (10,))


@pytest.mark.parametrize("keep", [0, -1, True, 3.0])
def test_pivot_counts_take_token_counts(keep: Any) -> None:
    with pytest.raises(PolicyError, match="keeps: expected token counts"):
        policy.prior((23,), 23).pivot_counts(0, (keep,))


def test_later_changes_to_the_provenance_stay_outside() -> None:
    provenance: dict[str, object] = {"kind": "user"}
    row = Category("default", (0.0,), Decimal("0.5"))
    built = Policy((3,), 1.0, 0.5, (row,), provenance)
    provenance["kind"] = "calibrated"
    assert not built.calibrated


GOOD = """{"schema": 1, "tau": 10.0, "layers": [3, 12, 23], "threshold": 0.5, "categories": [
  {"name": "counting", "scores": [0.1, 0, 0.9], "ratio": 0.60},
  {"name": "default", "scores": [0, 0, 1], "ratio": 0.9}],
  "provenance": {"kind": "calibrated", "rows": 40}}"""


def test_good_text_is_good() -> None:
    found = Policy.loads(GOOD)
    assert found.calibrated
    assert found.categories[0] == Category("counting", (0.1, 0.0, 0.9), Decimal("0.6"))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        # the text
        ("}}", "}", "not JSON"),
        ("40", "1" * 5000, "not JSON"),
        ("40", "[" * 100_000, "nested too deeply"),
        # keys
        ('"tau": 10.0', '"tau": 10.0, "tau": 9.0', "the key 'tau' occurs twice"),
        ('"ratio": 0.60', '"ratio": 0.6, "ratio": 0.6', r"categories\[0\]: the key 'ratio' occurs twice"),
        ('"rows": 40', '"rows": 40, "rows": 41', "provenance: the key 'rows' occurs twice"),
        ('"tau"', '"Tau"', "unknown key 'Tau'; expected one of schema, tau"),
        ('"tau": 10.0, ', "", "missing key 'tau'"),
        ('"scores": [0, 0, 1]', '"weights": [0, 0, 1]', r"categories\[1\]: unknown key 'weights'"),
        ('"scores": [0, 0, 1], ', "", r"categories\[1\]: missing key 'scores'"),
        # schema
        ('"schema": 1', '"schema": 2', "schema: expected 1, the one this version reads, got 2"),
        ('"schema": 1', '"schema": true', "schema: expected 1, .*got true"),
        ('"schema": 1, ', "", "missing key 'schema'"),
        # tau and threshold
        ("10.0", "0", "tau: expected a number above 0, got 0.0"),
        ("10.0", "-1", "tau: expected a number above 0"),
        ("10.0", "NaN", "tau: expected a finite number, got NaN"),
        ("10.0", "Infinity", "tau: expected a finite number, got Infinity"),
        ("10.0", "1e400", "tau: expected a finite number"),
        ("10.0", "1e99999999999999999999", "tau: expected a finite number"),
        ("10.0", "9" * 400, "tau: expected a finite number"),
        ("10.0", "true", "tau: expected a finite number, got true"),
        ("10.0", '"10"', "tau: expected a finite number, got '10'"),
        ('"threshold": 0.5', '"threshold": 1.5', "threshold: expected a number from 0 to 1, got 1.5"),
        ('"threshold": 0.5', '"threshold": null', "threshold: expected a finite number, got null"),
        # layers
        ("[3, 12, 23]", "[]", "layers: expected at least one vision layer"),
        ("[3, 12, 23]", "3", "layers: expected an array, got 3"),
        ("[3, 12, 23]", "[3, 12, 12]", r"layers\[2\]: expected more than the layer before it \(12\), got 12"),
        ("[3, 12, 23]", "[12, 3, 23]", r"layers\[1\]: expected more than"),
        ("[3, 12, 23]", "[-2, 3, 23]", r"layers\[0\]: expected a hidden-state number .*got -2"),
        ("[3, 12, 23]", "[3, 12.0, 23]", r"layers\[1\]: expected a hidden-state number"),
        ("[3, 12, 23]", "[false, 12, 23]", r"layers\[0\]: expected a hidden-state number .*got false"),
        # categories
        ("[0.1, 0, 0.9]", "[0.1, 0.9]", r"categories\[0\].scores: expected 3 numbers, one per layer, got 2"),
        ("[0.1, 0, 0.9]", "[0.1, 0, NaN]", r"categories\[0\].scores\[2\]: expected a finite number, got NaN"),
        (
            "[0.1, 0, 0.9]",
            "[0.1, 0, null]",
            r"categories\[0\].scores\[2\]: expected a finite number, got null",
        ),
        ("[0.1, 0, 0.9]", "0.1", r"categories\[0\].scores: expected an array"),
        ("0.60", "1.2", r"categories\[0\].ratio: expected a number from 0 to 1, got 1.2"),
        ("0.60", "-0.1", r"categories\[0\].ratio: expected a number from 0 to 1, got -0.1"),
        ("0.60", "NaN", r"categories\[0\].ratio: expected a finite number, got NaN"),
        ("0.60", "true", r"categories\[0\].ratio: expected a finite number, got true"),
        ("0.60", '"0.6"', r"categories\[0\].ratio: expected a finite number, got '0.6'"),
        ("0.60", "1e-999999999", r"categories\[0\].ratio: expected at most 12 digits after the point"),
        ("0.60", "0.1234567890123", r"categories\[0\].ratio: expected at most 12 digits after the point"),
        (
            '"counting"',
            '"default"',
            r"categories\[1\].name: expected a name other than that of categories\[0\]",
        ),
        (
            '"default"',
            '"other"',
            r"categories\[1\].name: expected the last category to be 'default', got 'other'",
        ),
        ('"counting"', '" "', r"categories\[0\].name: expected a printable name"),
        ('"counting"', '"a\\u001bb"', r"categories\[0\].name: expected a printable name"),
        ('"counting"', "7", r"categories\[0\].name: expected a printable name, got 7"),
        # provenance
        ('{"kind": "calibrated", "rows": 40}', "null", "provenance: expected an object, got null"),
        ('"kind": "calibrated", ', "", "provenance.kind: expected one of prior, calibrated, user, got null"),
        ('"calibrated"', '"paper"', "provenance.kind: expected one of prior, calibrated, user, got 'paper'"),
        ('"calibrated"', '["prior"]', "provenance.kind: expected one of prior"),
        ("40", "[40]", r"provenance\['rows'\]: expected a string, number, true, false or null, got an array"),
        ("40", "NaN", r"provenance.rows: expected a finite number, got NaN"),
    ],
)
def test_every_malformation_is_named(old: str, new: str, line: str) -> None:
    assert GOOD.count(old) == 1, old
    with pytest.raises(PolicyError, match=line) as caught:
        Policy.loads(GOOD.replace(old, new), source="mine.json")
    assert str(caught.value).startswith("mine.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rows", "line"), [([], "at least one category"), ({}, "expected an array"), ([3], "object")])
def test_categories_must_be_objects(rows: object, line: str) -> None:
    with pytest.raises(PolicyError, match=line):
        Policy.from_json({**json.loads(GOOD), "categories": rows})


@pytest.mark.parametrize("document", [None, [], "policy", 1])
def test_the_document_must_be_an_object(document: object) -> None:
    with pytest.raises(PolicyError, match=r"^policy\.json:"):
        Policy.from_json(document)


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_no_text_escapes_as_another_error(text: str | bytes) -> None:
    with pytest.raises(PolicyError):
        Policy.loads(text)


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(PolicyError, match=r"mine\.json:.*\(No such file"):
        Policy.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"^mine\.json: byte 0 is not UTF-8"):
        Policy.load(path)
    path.write_text(GOOD)
    assert Policy.load(path) == Policy.loads(GOOD)


def test_a_policy_built_in_code_obeys_the_same_rules() -> None:
    good = policy.prior((3, 23), 23)
    with pytest.raises(PolicyError, match=r"tau.*NaN"):
        dataclasses.replace(good, tau=float("nan"))
    with pytest.raises(PolicyError, match=r"categories\[0\].scores: expected 1 numbers"):
        dataclasses.replace(good, layers=(23,))
    with pytest.raises(PolicyError, match=r"provenance\['when'\]:"):
        dataclasses.replace(good, provenance={"kind": "user", "when": float("inf")})
