"""Figures for people, thinned curves, languages."""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from babel import Locale

from backend.jobs.models import Attempt
from backend.jobs.thinning import keep
from frontend import curves, i18n, jobviews
from frontend.format import DASH, Formatter
from frontend.views import Series

pytestmark = pytest.mark.unit
ENGLISH = Formatter(Locale("en"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH),
        (0.00031, "0.31 ms"),
        (0.0024, "2.4 ms"),
        (0.038, "38 ms"),
        (4.23, "4.2 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.8, "1 h 00 min"),
        (8048, "2 h 14 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert ENGLISH.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text", "exact"),
    [
        (Decimal("0.042148390000"), "$0.0421", "USD 0.042148390000"),
        (Decimal("12.481"), "$12.48", "USD 12.481"),
        (Decimal("1234.5"), "$1,234.50", "USD 1234.5"),
        (Decimal(0), "$0.00", "USD 0"),
    ],
)
def test_money(amount: Decimal, text: str, exact: str) -> None:
    assert ENGLISH.money(amount) == text
    assert ENGLISH.exact_money(amount) == exact


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (1288490189, "1.2 GiB"), (5 * 1024, "5.0 KiB"), (None, DASH)])
def test_bytes(size: int | None, text: str) -> None:
    assert ENGLISH.bytes(size) == text


def test_times_are_relative_in_the_visitors_language() -> None:
    at = datetime.now(UTC) - timedelta(minutes=3, seconds=10)
    assert ENGLISH.relative(at) == "3 minutes ago"
    assert Formatter(Locale.parse("zh_Hans_CN")).relative(at) == "3分钟前"
    assert ENGLISH.exact_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05 UTC"


def test_thinning_keeps_ends_extremes_and_order() -> None:
    source = random.Random(7)  # noqa: S311 - a seeded curve
    steps = list(range(100_000))
    values = [math.sin(step / 9000) + source.random() * 0.1 for step in steps]
    values[54_321] = 40.0
    kept = keep(values, steps, 1000)
    assert len(kept) <= 1000
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    assert 54_321 in kept


def test_few_points_are_all_kept() -> None:
    assert keep([1.0, 2.0, 3.0], [1, 2, 3], 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_loss", ("loss", "train")),
        ("val_accuracy", ("accuracy", "validation")),
        ("validation/loss", ("loss", "validation")),
        ("learning_rate", ("learning_rate", "other")),
        ("size_bytes/before", ("size_bytes", "train")),
        ("size_bytes/after", ("size_bytes", "validation")),
    ],
)
def test_series_are_grouped_by_what_they_measure(name: str, split: tuple[str, str]) -> None:
    assert curves.split_name(name) == split


def test_points_that_are_no_number_are_left_out() -> None:
    series = Series(name="train_loss", steps=[1, 2, 3], values=[1.0, math.nan, math.inf], times=[0.0, 1.0, 2.0])
    (loss, accuracy) = curves.charts([series])
    assert loss["series"][0]["points"] == [[1, 1.0, 0.0]]
    assert accuracy["series"] == []


def test_a_job_without_loss_shows_only_what_it_measured() -> None:
    series = [
        Series(name=f"size_bytes/{when}", steps=[step], values=[1.0], times=[0.0])
        for step, when in enumerate(["before", "after"])
    ]
    assert [chart["title"] for chart in curves.charts(series)] == ["Size by step, bytes"]
    assert [chart["title"] for chart in curves.charts([])] == ["Loss by step", "Accuracy by step, %"]


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh_Hans_CN"),
        (None, "fr-FR,en;q=0.5", "en"),
        ("en", "zh-CN", "en"),
        ("nonsense", "zh", "zh_Hans_CN"),
    ],
)
def test_languages(cookie: str | None, header: str | None, language: str) -> None:
    assert i18n.choose(cookie, header) == language


def test_nested_parameters_are_shown_flat() -> None:
    nested = {"hyperparameters": {"seed": 0, "augmentation": {"enabled": True}}, "algorithm": "image-classification"}
    assert dict(jobviews.flat(nested)) == {
        "hyperparameters.seed": 0,
        "hyperparameters.augmentation.enabled": True,
        "algorithm": "image-classification",
    }


def test_time_left_follows_the_pace_since_the_resume() -> None:
    now = datetime.now(UTC)
    attempt = Attempt(started_at=now - timedelta(seconds=30), ended_at=None, resumed_from_step=100)
    left = jobviews.seconds_left({"step": 160, "total_steps": 300}, attempt, now)
    assert left == pytest.approx(70)
    assert jobviews.seconds_left({"step": 100, "total_steps": 300}, attempt, now) is None
    assert jobviews.progress_share({"step": 160, "total_steps": 0}) is None
