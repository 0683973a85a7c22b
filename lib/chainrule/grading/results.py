"""What grading one submission found: plain records that survive a journey through JSON unchanged."""

import json
from dataclasses import asdict, dataclass

__all__ = ["ExerciseResult", "Graded"]


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one submission.

    Args:
        name: the exercise's name, which is the function's
        title: its title on the page
        page: the page of the chapter to read again, as its name under ``chapters/``
        points: what it is worth
        earned: what this submission earned, from 0 to points
        right: how many of its inputs gave the right answer
        cases: how many inputs there were
        sentence: what is wrong with the first public input that failed, or with a hidden one in words that do not show
            it
        inputs: that input as text; empty for a hidden one
        returned: what came back, as text; empty for a hidden one
        expected: what should have come back, as text; empty for a hidden one, or where many answers are right
        hint: what a common mistake with the same result teaches
    """

    name: str
    title: str
    page: str
    points: float
    earned: float
    right: int
    cases: int
    sentence: str = ""
    inputs: str = ""
    returned: str = ""
    expected: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Graded:
    """One submission with its marks.

    Args:
        student: who handed it in
        file: the name of the file that was graded
        digest: SHA-256 of the file's bytes
        chapter: the chapter whose exercises these are
        seed: the seed of its hidden inputs; with it a mark can be reproduced
        exercises: one result an exercise, in the order of the sheet
        problems: sentences about the submission as a whole: unreadable, a limit that it hit, a cell that failed
        printed: what it printed, cut
        submitted: when it came, in seconds since 1970, or None
        late_seconds: how long after the deadline it came, 0 where it was in time
        penalty: share of the marks that lateness costs, from 0 to 1
        gradable: False where nothing could be run
        attempt: which of the student's attempts this is

    >>> one = Graded("ada", "ada.ipynb", "00", "none", 1, (ExerciseResult("f", "F", "none", 2.0, 1.5, 3, 4),))
    >>> one.score, one.maximum, Graded.from_json(one.to_json()) == one
    (1.5, 2.0, True)
    """

    student: str
    file: str
    digest: str
    chapter: str
    seed: int
    exercises: tuple[ExerciseResult, ...] = ()
    problems: tuple[str, ...] = ()
    printed: str = ""
    late_seconds: float = 0.0
    penalty: float = 0.0
    gradable: bool = True
    attempt: int = 1
    submitted: float | None = None

    @property
    def maximum(self) -> float:
        """What a perfect submission in time would get."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def score(self) -> float:
        """What this one gets, the penalty for lateness taken off, to a thousandth of a point."""
        return round(sum(exercise.earned for exercise in self.exercises) * (1 - self.penalty), 3)

    def to_json(self) -> str:
        """All fields as one JSON object, in ASCII: a student's text may hold what is no valid Unicode."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Graded":
        """The inverse of :meth:`to_json`."""
        record = json.loads(text)
        exercises = tuple(ExerciseResult(**exercise) for exercise in record.pop("exercises"))
        problems = tuple(record.pop("problems"))
        return cls(exercises=exercises, problems=problems, **record)
