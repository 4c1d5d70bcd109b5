"""The accuracy page in Markdown. Every number and every judgement in it is computed from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy_figures import OURS

Figures = dict[str, Any]


def page(found: Figures, plot: str, source: str) -> str:
    """The text of the page; ``plot`` and ``source`` are where the plot and the figures lie, relative to it."""
    parts = [
        "# Accuracy",
        _intro(found),
        f"![Accuracy against the mean number of visual tokens, one line a method]({plot})",
        "## What the figures say",
        "\n".join(f"- {line}" for line in findings(found)),
        "## Every method at every setting",
        _how_to_read(found),
        *(_setting(setting) for setting in found["settings"]),
        "## By category",
        "Right answers in %: unpruned, and CLASP at every setting.",
        _categories(found),
        "## How it was made",
        _made(found, source),
    ]
    return "\n\n".join(parts) + "\n"


def findings(found: Figures) -> list[str]:
    """What can be concluded, for and against CLASP."""
    settings = found["settings"]
    lines = [_led(settings)]
    for setting in settings:
        for name, method in setting["methods"].items():
            if name != OURS and verdict(method["clasp_against_it"]) == "behind":
                lines.append(f"**{name} beats CLASP at {setting['name']}** by {_points(method, -1)}.")
    for setting in settings:
        ours = setting["methods"][OURS]
        judged = {name: verdict(of["clasp_against_it"]) for name, of in setting["methods"].items() if name != OURS}
        ahead = [name for name, word in judged.items() if word == "ahead"]
        level = [name for name, word in judged.items() if word == "level"]
        lines.append(
            f"{setting['name']}: CLASP answers {_percent(ours['accuracy'])} % right, "
            f"{_ratio(ours['against_unpruned'])} of unpruned. "
            f"{_list('Clearly better than', ahead)}{_list('Not told apart from', level)}".rstrip()
        )
    count = sum(len(setting["methods"]) - 1 for setting in settings)
    lines.append(
        f"Clear means that the 95 % interval of the difference leaves out zero. Of {count} comparisons, "
        f"about {max(1, round(count / 20))} would do so by chance if no two methods differed."
    )
    return lines


def verdict(compared: Figures) -> str:
    """``ahead``, ``behind`` or ``level``, by whether the interval of the difference leaves out zero."""
    if compared["difference_interval"] is None:
        return "level"
    low, high = compared["difference_interval"]
    return "ahead" if low > 0 else "behind" if high < 0 else "level"


def _led(settings: Sequence[Figures]) -> str:
    """Where no method has more right answers than CLASP, by count alone, and where one has."""
    best, topped = [], []
    for setting in settings:
        methods = setting["methods"]
        rivals = [name for name, of in methods.items() if name != OURS and of["right"] > methods[OURS]["right"]]
        if rivals:
            topped.append(f"{setting['name']} ({', '.join(rivals)})")
        else:
            best.append(setting["name"])
    parts = []
    if best:
        parts.append(f"CLASP is at least as good as every other method at {_join(best)}.")
    if topped:
        parts.append(f"Others have more right answers at {_join(topped)}; below is said which of these are clear.")
    return " ".join(parts)


def _intro(found: Figures) -> str:
    data, unpruned = found["data"], found["unpruned"]
    low, high = unpruned["interval"]
    return (
        f"{data['questions']} questions about {data['pictures']} pictures, asked of the checkpoint "
        f"`{found['checkpoint']['name']}` with one pruning method after the other, on the same bundles and schedules. "
        f"Unpruned, with all {unpruned['tokens']} visual tokens, it answers {_percent(unpruned['accuracy'])} % right "
        f"(95 % interval {_percent(low)} to {_percent(high)})."
    )


def _how_to_read(found: Figures) -> str:
    return (
        "Accuracy is exact match after case, punctuation and articles, in % with Wilson's 95 % interval. The other "
        "columns compare answers to the same questions: the method's accuracy in % of the unpruned one, and CLASP's "
        "accuracy minus the method's in points, each with the 95 % percentile interval of a bootstrap over pictures. "
        "Where that interval leaves out zero the difference is in bold. `clasp-fixed` is CLASP without layer fusion."
    )


def _setting(setting: Figures) -> str:
    rows = [("method", "accuracy", "of unpruned", "CLASP minus it")]
    ranked = sorted(setting["methods"].items(), key=lambda item: (-item[1]["right"], item[0] != OURS))
    for name, method in ranked:
        low, high = method["interval"]
        rows.append(
            (
                f"**{name}**" if name == OURS else name,
                f"{_percent(method['accuracy'])} [{_percent(low)}, {_percent(high)}]",
                _ratio(method["against_unpruned"]),
                "" if name == OURS else _difference(method["clasp_against_it"]),
            )
        )
    share = setting["mean_visual_tokens"] / setting["tokens"]
    return f"### {setting['name']}\n\n{setting['schedule']}: {_percent(share)} % of the tokens.\n\n{table(rows)}"


def _categories(found: Figures) -> str:
    settings = found["settings"]
    rows = [("category", "questions", "unpruned", *(setting["name"] for setting in settings))]
    for name, whole in found["unpruned"]["categories"].items():
        shares = [setting["methods"][OURS]["categories"][name] for setting in settings]
        cells = (_percent(share["accuracy"]) for share in (whole, *shares))
        rows.append((name, str(whole["total"]), *cells))
    overall = (found["unpruned"], *(setting["methods"][OURS] for setting in settings))
    rows.append(("all", str(found["unpruned"]["total"]), *(_percent(share["accuracy"]) for share in overall)))
    return table(rows)


def _made(found: Figures, source: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    policy = (
        "calibrated" if found["policy"]["calibrated"] else f"not calibrated ({found['policy']['provenance']['kind']})"
    )
    return (
        f"```bash\n{found['command']}\n```\n\n"
        "Nothing on this page was written by hand: "
        f"`python -m benchmarks.accuracy --redraw` makes it again from [{source}]({source}).\n\n"
        f"- Checkpoint: SHA-256 of its files `{found['checkpoint']['sha256'][:16]}`; fp32, ONNX Runtime on a CPU.\n"
        f"- Data: SHA-256 of the file of questions `{found['data']['sha256'][:16]}`.\n"
        f"- Policy: {policy}. Each question is answered under its own category, not the router's.\n"
        f"- Answers: greedy, at most {found['max_new_tokens']} tokens.\n"
        f"- Versions: {versions}.\n"
        "- Methods other than CLASP select on the host in numpy, so their times say nothing and are not shown."
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown of rows of equal length; the first is the head, numbers stand right."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _ratio(compared: Figures) -> str:
    if compared["ratio"] is None:
        return "-"
    text = f"{_percent(compared['ratio'])} %"
    ends = compared["ratio_interval"]
    return text if ends is None else f"{text} [{_percent(ends[0])}, {_percent(ends[1])}]"


def _difference(compared: Figures) -> str:
    text = _signed(compared["difference"])
    text = text if verdict(compared) == "level" else f"**{text}**"
    ends = compared["difference_interval"]
    return text if ends is None else f"{text} [{_signed(ends[0])}, {_signed(ends[1])}]"


def _points(method: Figures, sign: int) -> str:
    """The lead of a method over CLASP (``sign`` -1)."""
    compared = method["clasp_against_it"]
    low, high = sorted(sign * end for end in compared["difference_interval"])
    return f"{_percent(sign * compared['difference'])} points (95 % interval {_percent(low)} to {_percent(high)})"


def _signed(share: float) -> str:
    return f"{100 * share + 0.0:+.1f}"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _list(start: str, words: Sequence[str]) -> str:
    return f"{start} {_join(words)}. " if words else ""
