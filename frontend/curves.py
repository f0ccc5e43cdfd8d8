"""Metric series as charts: grouped by what they measure, thinned to what a screen can show."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from backend.jobs.thinning import keep
from frontend.views import Series

POINTS = 1000
_ROLES = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
_NAME = re.compile(r"^(train|training|val|valid|validation|test)[_/.:-](.+)$")
_SUFFIX = re.compile(r"^(.+)[/.:](before|after)$")
_UNITS = {"bytes": "bytes", "ms": "ms", "seconds": "s"}
_TITLES = {"accuracy": "Accuracy by step, %", "throughput": "Throughput by step, items/s"}
_GOALS = {"loss": "min", "accuracy": "max"}
_ALWAYS = ("loss", "accuracy")


Say = Callable[[str], str]
"""What the platform says, in the reader's language."""


def in_words(charts: list[dict[str, Any]], say: Say) -> list[dict[str, Any]]:
    """The same charts with titles and labels in the reader's language; a job's name in a label stays."""
    for chart in charts:
        chart["title"] = say(chart["title"])
        for series in chart["series"]:
            if (whole := say(series["label"])) != series["label"] and "run" not in series:
                series["label"] = whole
                continue
            name, space, last = series["label"].rpartition(" ")
            first = say(name) if "run" not in series else name
            series["label"] = f"{first}{space}{say(last) if space or 'run' not in series else last}"
    return charts


def split_name(name: str) -> tuple[str, str]:
    """`train/loss` → (`loss`, `train`): what is measured, and on what (`train`, `validation`, `other`).

    `size_bytes/before` and `size_bytes/after` are two series of one chart.
    """
    compared = _SUFFIX.match(name)
    if compared:
        return compared[1], "train" if compared[2] == "before" else "validation"
    found = _NAME.match(name)
    if not found:
        return name, "other"
    return found[2], _ROLES.get(found[1], "validation" if found[1] == "validation" else "other")


def charts(series: Sequence[Series]) -> list[dict[str, Any]]:
    """What the chart script draws: loss and accuracy while a job may have them, then every other metric by name."""
    measured = {split_name(one.name)[0] for one in series}
    families: dict[str, list[Series]] = {}
    if not series or "loss" in measured:
        families = {key: [] for key in _ALWAYS}
    for one in sorted(series, key=lambda item: item.name):
        families.setdefault(split_name(one.name)[0], []).append(one)
    return [_chart(key, members) for key, members in families.items()]


def overlaid(jobs: Sequence[tuple[str, Sequence[Series]]]) -> list[dict[str, Any]]:
    """Charts of several jobs over each other: each series bears its job's number (`run`) and name."""
    families: dict[str, list[dict[str, Any]]] = {}
    for run, (job, found) in enumerate(jobs):
        for one in sorted(found, key=lambda item: item.name):
            key, role = split_name(one.name)
            drawn = _drawn(one, POINTS // max(len(jobs), 1) * 2)
            said = job if role == "other" else f"{job} {role}"
            families.setdefault(key, []).append(drawn | {"name": f"{job}:{one.name}", "label": said, "run": run})
    first = [key for key in _ALWAYS if key in families]
    order = [*first, *sorted(key for key in families if key not in first)]
    return [_board(key, families[key]) for key in order]


def title_of(key: str) -> str:
    """A chart's title with its unit, which the last part of a metric's name says."""
    words, _, unit = key.rpartition("_")
    if words and unit in _UNITS:
        return f"{words.replace('_', ' ').capitalize()} by step, {_UNITS[unit]}"
    return _TITLES.get(key, f"{key.replace('_', ' ').capitalize()} by step")


def _chart(key: str, members: list[Series]) -> dict[str, Any]:
    return _board(key, [_drawn(one, POINTS) for one in members])


def _board(key: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "key": key,
        "title": title_of(key),
        "percent": key == "accuracy",
        "goal": _GOALS.get(key),
        "series": series,
    }


def _drawn(one: Series, limit: int) -> dict[str, Any]:
    role = split_name(one.name)[1]
    finite = [(s, v, t) for s, v, t in zip(one.steps, one.values, one.times, strict=True) if v - v == 0]
    steps, values = [row[0] for row in finite], [row[1] for row in finite]
    return {
        "name": one.name,
        "label": re.sub(r"[_/.:]+", " ", one.name),
        "role": role,
        "points": [list(finite[i]) for i in keep(values, steps, limit)],
    }
