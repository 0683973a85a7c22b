"""A course's rules: read from TOML, refused with a sentence where they say what cannot be."""

import pytest

from chainrule.grading.sandbox import Limits
from chainrule.grading.settings import Settings, read_settings

NAMES = ["entropy", "log_sum_exp"]


def read(tmp_path, text):
    path = tmp_path / "course.toml"
    path.write_text(text)
    return read_settings(path, NAMES)


def test_no_file_gives_the_defaults():
    assert read_settings(None, NAMES) == Settings()


def test_everything_that_can_stand_in_the_file(tmp_path):
    rules = read(
        tmp_path,
        """
        deadline = 2026-01-31T12:00:00+01:00
        grace_minutes = 10
        penalty_per_day = 0.1
        largest_penalty = 0.25
        attempts = "last"
        [points]
        entropy = 5
        [by_hand]
        why-entropy = 4
        [limits]
        seconds = 5
        memory_megabytes = 512
        seconds_per_exercise = 2.5
        """,
    )
    assert rules == Settings(
        1_769_857_200.0,
        10,
        0.1,
        0.25,
        "last",
        {"entropy": 5},
        {"why-entropy": 4},
        Limits(seconds=5, memory_megabytes=512),
        2.5,
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-01-31", 1_769_903_999), ("2026-01-31T12:00:00", 1_769_860_800), ("2026-01-31T12:00:00Z", 1_769_860_800)],
)
def test_a_deadline_without_a_time_is_the_days_end_and_without_a_zone_utc(tmp_path, text, seconds):
    assert read(tmp_path, f"deadline = {text}").deadline == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("deadlin = 1", "expected only"),
        ("deadline = 5", "date or a time"),
        ("penalty_per_day = 1.5", "number from 0 to 1"),
        ("penalty_per_day = nan", "number from 0 to 1"),
        ("grace_minutes = true", "to be a number"),
        ('attempts = "worst"', "'best' or 'last'"),
        ("[points]\nentropi = 1", "exercises of this sheet"),
        ("[points]\nentropy = -1", "points of entropy"),
        ("points = 3", "exercises of this sheet"),
        ('[by_hand]\n"../x" = 1', "names in by_hand"),
        ("[by_hand]\nentropy = 1", "names in by_hand"),
        ("by_hand = 1", "names in by_hand"),
        ("limits = 1", "to be a table"),
        ("[limits]\nmemory = 1", "limits among"),
        ("[limits]\nseconds = 0", "seconds"),
        ("deadline = ", "is no TOML"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, text, words):
    with pytest.raises(ValueError, match="^settings: ") as caught:
        read(tmp_path, text)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        read_settings(tmp_path / "none.toml", NAMES)


def test_lateness_counts_from_the_deadline_and_a_name_may_say_it():
    rules = Settings(deadline=1000.0, penalty_per_day=0.2, grace_minutes=1)
    assert [rules.late_seconds(when) for when in (None, 900.0, 1000.0, 1100.0)] == [0, 0, 0, 100]
    assert rules.late_seconds(None, marked_late=True) == 1
    assert Settings().late_seconds(1e9) == 0
    assert [rules.penalty(late) for late in (0, 60, 61, 60 + 86_400, 60 + 86_401)] == [0, 0, 0.2, 0.2, 0.4]
    assert rules.penalty(1e9) == 1.0
