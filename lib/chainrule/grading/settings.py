"""A course's rules, from a small TOML file: points, lateness, attempts, limits.

::

    deadline = 2027-01-31T23:59:00+01:00     # without it nothing is late
    grace_minutes = 10
    penalty_per_day = 0.1                     # of the marks, for each day begun after the deadline and the grace
    largest_penalty = 0.5
    attempts = "best"                         # or "last"

    [points]                                  # the exercise's own, where nothing stands here
    entropy = 5

    [by_hand]                                 # answers in words: the tag of their Markdown cell, and their points
    why_entropy = 4

    [limits]                                  # see chainrule.grading.sandbox.Limits
    seconds = 60
    seconds_per_exercise = 10
"""

import math
import re
import tomllib
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from pathlib import Path

from chainrule.grading.sandbox import Limits

__all__ = ["Settings", "read_settings"]

DAY = 86_400.0


@dataclass(frozen=True)
class Settings:
    """A course's rules; the defaults are those of a course without a file.

    Args:
        deadline: in seconds since 1970, or None
        grace_minutes: how long after the deadline nothing is lost yet
        penalty_per_day: share of the marks that each day begun costs, from 0 to 1
        largest_penalty: the most that lateness costs, from 0 to 1
        attempts: which of several attempts counts, ``best`` or ``last``
        points: exercise -> points, for those that differ from the book's
        by_hand: answer in words -> points, for those that a person marks
        limits: what one submission may use
        seconds_per_exercise: time for one exercise
    """

    deadline: float | None = None
    grace_minutes: float = 0.0
    penalty_per_day: float = 0.0
    largest_penalty: float = 1.0
    attempts: str = "best"
    points: dict[str, float] = field(default_factory=dict)
    by_hand: dict[str, float] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    seconds_per_exercise: float = 10.0

    def late_seconds(self, submitted: float | None, marked_late: bool = False) -> float:
        """How long after the deadline a submission came.

        A name that says late counts as a second where no clock says more.
        """
        late = max(0.0, submitted - self.deadline) if submitted is not None and self.deadline is not None else 0.0
        return late or (1.0 if marked_late else 0.0)

    def penalty(self, late_seconds: float) -> float:
        """The share of the marks that lateness costs.

        >>> rules = Settings(penalty_per_day=0.1, largest_penalty=0.25, grace_minutes=10)
        >>> [rules.penalty(s) for s in (0, 600, 601, 600 + 86400, 600 + 86401, 10 * 86400)]
        [0.0, 0.0, 0.1, 0.1, 0.2, 0.25]
        """
        over = late_seconds - 60 * self.grace_minutes
        return min(self.largest_penalty, self.penalty_per_day * math.ceil(over / DAY)) if over > 0 else 0.0


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"settings: expected {name} to be a number from {low:g} to {high:g}, got {value!r}")
    return value


def read_settings(path: Path | None, names: list[str]) -> Settings:
    """Read a course's file, or give the defaults for None.

    Args:
        path: the TOML file
        names: the exercises of the sheet

    Raises:
        ValueError: naming the first thing in the file that is unknown or out of range.
    """
    if path is None:
        return Settings()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"settings: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"settings: {path} is no TOML: {error}") from None
    known = {
        "deadline",
        "grace_minutes",
        "penalty_per_day",
        "largest_penalty",
        "attempts",
        "points",
        "by_hand",
        "limits",
    }
    if set(raw) - known:
        raise ValueError(
            f"settings: expected only {', '.join(sorted(known))}, got {', '.join(sorted(set(raw) - known))}"
        )
    values: dict = {}
    if "deadline" in raw:
        deadline = raw["deadline"]
        if type(deadline) is date:
            deadline = datetime.combine(deadline, time(23, 59, 59))
        if not isinstance(deadline, datetime):
            raise ValueError(f"settings: expected deadline to be a date or a time, got {deadline!r}")
        if deadline.tzinfo is None:
            deadline = deadline.replace(tzinfo=UTC)
        values["deadline"] = deadline.timestamp()
    for name, high in (("grace_minutes", 1e6), ("penalty_per_day", 1.0), ("largest_penalty", 1.0)):
        if name in raw:
            values[name] = _number(name, raw[name], 0, high)
    if raw.get("attempts", "best") not in ("best", "last"):
        raise ValueError(f"settings: expected attempts to be 'best' or 'last', got {raw['attempts']!r}")
    values["attempts"] = raw.get("attempts", "best")
    points, limits = raw.get("points", {}), raw.get("limits", {})
    if not isinstance(limits, dict):
        raise ValueError(f"settings: expected limits to be a table, got {limits!r}")
    limits = dict(limits)
    if not isinstance(points, dict) or set(points) - set(names):
        raise ValueError(f"settings: expected points of exercises of this sheet ({', '.join(names)}), got {points!r}")
    values["points"] = {name: _number(f"points of {name}", value, 0, 1e6) for name, value in points.items()}
    by_hand = raw.get("by_hand", {})
    if (
        not isinstance(by_hand, dict)
        or not all(re.fullmatch(r"[a-z][a-z0-9_-]{0,59}", name) for name in by_hand)
        or set(by_hand) & set(names)
    ):
        raise ValueError(
            "settings: expected names in by_hand of lower-case letters, digits, - and _, none of them an exercise's, "
            f"got {', '.join(map(repr, by_hand)) if isinstance(by_hand, dict) else repr(by_hand)}"
        )
    values["by_hand"] = {name: _number(f"points of {name}", value, 0, 1e6) for name, value in by_hand.items()}
    if "seconds_per_exercise" in limits:
        values["seconds_per_exercise"] = _number("seconds_per_exercise", limits.pop("seconds_per_exercise"), 0.1, 3600)
    allowed = {one.name for one in fields(Limits)}
    if set(limits) - allowed:
        raise ValueError(
            f"settings: expected limits among {', '.join(sorted(allowed))}, "
            f"got {', '.join(sorted(set(limits) - allowed))}"
        )
    for name, value in limits.items():
        limits[name] = _number(name, value, 1, 1e12) if name == "seconds" else int(_number(name, value, 1, 1e12))
    values["limits"] = Limits(**limits)
    return Settings(**values)
