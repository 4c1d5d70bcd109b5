"""Turns of fake peers: who is asked when, what counts, and who is left out."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.lineup import Entrant
from benchmarks.peers.rounds import Taken, measure
from tests.benchmarks.peers.fakes import Child, entrant


def turns(
    entrants: Sequence[Entrant],
    times: dict[str, list[list[float | Exception]]],
    *,
    rounds: int = 2,
    threads: Sequence[int] = (2,),
) -> tuple[list[Taken], list[str]]:
    """What was taken and heard; ``times`` has the answers of each start, in order."""
    heard: list[str] = []
    starts = {name: iter(answers) for name, answers in times.items()}

    def start(each: Entrant, count: int) -> Child:
        return Child(f"{each.name}/{count}", next(starts[each.name]), heard)

    taken = measure(
        entrants, start, rounds=rounds, new_tokens=8, threads=threads, say=lambda line: None
    )  # fmt: skip
    return taken, heard


def test_each_has_its_turn_in_each_round_in_a_process_of_its_own() -> None:
    a, b = entrant("a"), entrant("b")
    taken, heard = turns([a, b], {"a": [[9, 1], [9, 2]], "b": [[9, 3], [9, 4]]})
    one, other = ([f"start {n}/2", f"ask {n}/2 2", f"ask {n}/2 8", f"end {n}/2"] for n in "ab")
    assert heard == [*one, *other, *one, *other]
    assert [[s.ttft_ms for s in each.samples] for each in taken] == [[1, 2], [3, 4]], "the warming answer counts not"
    assert [each.load_s for each in taken] == [[2.0, 2.0]] * 2
    assert taken[0].versions == {"theirs": "1.0"}


def test_one_that_stays_is_started_once_and_ended_last() -> None:
    _, heard = turns([entrant("a", stays=True), entrant("b")], {"a": [[9, 1, 2]], "b": [[9, 3], [9, 4]]})
    assert heard.count("start a/2") == 1
    assert heard[-1] == "end a/2"
    assert [each for each in heard if each.startswith("ask a")] == ["ask a/2 8"] * 3, "it is warmed by a whole answer"


def test_the_fastest_number_of_threads_is_kept() -> None:
    taken, heard = turns([entrant("a")], {"a": [[9, 5], [9, 7], [9, 1], [9, 2]]}, threads=(1, 2))
    assert taken[0].threads == 1
    assert [each for each in heard if each.startswith("start")] == ["start a/1", "start a/2", "start a/1", "start a/1"]
    assert [s.ttft_ms for s in taken[0].samples] == [1, 2], "trials are no answers"


def test_whoever_fails_is_left_out_and_the_others_go_on() -> None:
    broken = RuntimeError("the worker ended\nwith exit code -11")
    taken, heard = turns(
        [entrant("a"), entrant("b")], {"a": [[9, 1], [broken]], "b": [[9, 3], [9, 4], [9, 5]]}, rounds=3
    )
    assert taken[0].left_out == "the worker ended with exit code -11"
    assert [s.ttft_ms for s in taken[1].samples] == [3, 4, 5]
    assert heard.count("start a/2") == 2, "it is not tried again"
    assert heard.count("end a/2") == 2, "nobody is left running"


def test_a_failure_without_words_has_the_name_of_its_kind() -> None:
    taken, _ = turns([entrant("a")], {"a": [[BrokenPipeError()]]})
    assert taken[0].left_out == "BrokenPipeError"
