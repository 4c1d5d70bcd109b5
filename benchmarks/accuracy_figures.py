"""The figures of the accuracy page: every setting's shares, and what follows from answering the same questions."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clasp_trt.schedule import Schedule
from clasp_trt.tools.evaluate import paired
from clasp_trt.tools.evaluate.report import paired_json

OURS = "clasp"


@dataclass(frozen=True)
class Run:
    """One setting that was asked: what ``clasp-trt eval --json`` said, and the file of its answers."""

    name: str
    place: str
    nominal: str
    report: dict[str, Any]
    answers: Path

    def right(self, method: str) -> dict[int, bool]:
        """Whether each question was answered right, by its line."""
        rows = [json.loads(line) for line in self.answers.read_text(encoding="utf-8").splitlines()[1:]]
        return {row["line"]: row["right"] for row in rows if row["method"] == method}


def figures(unpruned: Run, runs: list[Run]) -> dict[str, object]:
    """All that page and plot tell, as JSON: each method against no pruning, and CLASP against each method."""
    lines = sorted(unpruned.right("none"))[: unpruned.report["questions"]]  # a cache may hold more than --limit asks
    pictures = _pictures(unpruned)
    picture_of = np.array([pictures[line] for line in lines])

    def column(run: Run, method: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        right = run.right(method)
        return np.array([right[line] for line in lines])

    baseline = column(unpruned, "none")
    found = []
    for run in runs:
        schedule = Schedule.from_json(run.report["schedule"])
        columns = {method: column(run, method) for method in run.report["methods"]}
        methods = {}
        for method, right in columns.items():
            share = {key: run.report["methods"][method][key] for key in ("right", "total", "accuracy", "interval")}
            methods[method] = {
                **share,
                "categories": run.report["methods"][method]["categories"],
                "against_unpruned": paired_json(paired(right, baseline, picture_of)),
            }
            if method != OURS:
                methods[method]["clasp_against_it"] = paired_json(paired(columns[OURS], right, picture_of))
        found.append(
            {
                "name": run.name,
                "place": run.place,
                "nominal": run.nominal,
                "schedule": schedule.describe(),
                "tokens": schedule.tokens,
                "mean_visual_tokens": float(schedule.mean_tokens),
                "methods": methods,
            }
        )
    whole = unpruned.report["methods"]["none"]
    return {
        "data": {
            "sha256": unpruned.report["data"]["sha256"],
            "questions": unpruned.report["questions"],
            "pictures": unpruned.report["pictures"],
        },
        "policy": runs[0].report["policy"] if runs else unpruned.report["policy"],
        "max_new_tokens": unpruned.report["max_new_tokens"],
        "unpruned": {
            **{key: whole[key] for key in ("right", "total", "accuracy", "interval", "categories")},
            "tokens": Schedule.from_json(unpruned.report["schedule"]).tokens,
        },
        "settings": found,
    }


def _pictures(run: Run) -> dict[int, int]:
    """A number for the picture of each line of the data."""
    from clasp_trt.tools.evaluate.dataset import linked, read

    rows, numbers = read(run.report["data"]["path"]), dict[Path, int]()
    pictures = zip(rows, linked(rows), strict=True)
    return {row.line: numbers.setdefault(picture, len(numbers)) for row, picture in pictures}


def versions() -> dict[str, str]:
    """What the figures depend on beside checkpoint and data."""
    names = ("clasp-trt", "numpy", "onnxruntime", "pillow", "tokenizers")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    if name == "clasp-trt":
        import clasp_trt

        return clasp_trt.__version__
    return metadata.version(name)
