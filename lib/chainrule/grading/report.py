"""What a lecturer reads after a run: a table, a summary, and the distribution of marks, as text and as HTML."""

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from chainrule import plots
from chainrule.grading.feedback import POLICY, STYLE, printable, safe
from chainrule.grading.results import Graded

__all__ = ["Summary", "report_html", "summarise", "text_report"]

BINS = 10
ROWS = 60  # of the table on a terminal; the files hold all


@dataclass
class Summary:
    """Running totals over a class, small however large it is.

    Args:
        students: how many have a mark
        ungradable: how many of them handed in what could not be run
        late: how many lost marks for lateness
        total: sum of all scores
        maximum: what a perfect submission gets
        shares: how many students by tenth of the maximum, 0 to 9
        earned: exercise -> (title, points, sum of what was earned, how many full marks)
        rows: (student, score, maximum, remark), for the table
    """

    students: int = 0
    ungradable: int = 0
    late: int = 0
    total: float = 0.0
    maximum: float = 0.0
    shares: Counter = field(default_factory=Counter)
    earned: dict[str, tuple[str, float, float, int]] = field(default_factory=dict)
    rows: list[tuple[str, float, float, str]] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """The mean score."""
        return self.total / self.students if self.students else 0.0


def summarise(results: Iterable[Graded]) -> Summary:
    """Add up a class, one result at a time."""
    summary = Summary()
    for graded in results:
        summary.students += 1
        summary.ungradable += not graded.gradable
        summary.late += graded.penalty > 0 and any(one.earned for one in graded.exercises)
        summary.total += graded.score
        summary.maximum = max(summary.maximum, graded.maximum)
        share = graded.score / graded.maximum if graded.maximum else 0.0
        summary.shares[min(int(share * BINS + 1e-9), BINS - 1)] += 1
        for one in graded.exercises:
            title, points, earned, full = summary.earned.get(one.name, (one.title, one.points, 0.0, 0))
            summary.earned[one.name] = (title, points, earned + one.earned, full + (one.earned >= one.points))
        remark = printable(" ".join(graded.problems[0].split())) if graded.problems else ""
        summary.rows.append((graded.student, graded.score, graded.maximum, remark))
    return summary


def _labels() -> list[str]:
    return [f"{100 * i // BINS}-{100 * (i + 1) // BINS}%" for i in range(BINS)]


def text_report(summary: Summary) -> str:
    """The table and the summary for a terminal."""
    lines = []
    width = min(32, max([7, *(len(row[0]) for row in summary.rows)]))
    for student, score, maximum, remark in summary.rows[:ROWS]:
        lines.append(f"{student[:width]:<{width}}  {score:>8.2f} / {maximum:g}  {remark[:70]}".rstrip())
    if len(summary.rows) > ROWS:
        lines.append(f"... and {len(summary.rows) - ROWS} more, in marks.csv")
    lines += ["", f"{summary.students} students, mean {summary.mean:.2f} of {summary.maximum:g} points"]
    lines.append(f"{summary.ungradable} could not be run, {summary.late} lost marks for lateness")
    lines += ["", "marks     students"]
    most = max([1, *summary.shares.values()])
    for index, label in enumerate(_labels()):
        count = summary.shares[index]
        lines.append(f"{label:>8}  {'#' * round(40 * count / most):<40} {count}")
    lines += ["", "exercise                                   mean    full marks"]
    for title, points, earned, full in summary.earned.values():
        mean = earned / summary.students if summary.students else 0.0
        lines.append(f"{title[:38]:<38} {mean:>6.2f} / {points:<5g} {full:>5}")
    return "\n".join(lines) + "\n"


def report_html(summary: Summary, chapter: str) -> str:
    """The same as one HTML document, with two plots and no script."""
    fig, (left, right) = plots.subplots(1, 2, width=9.0, height=3.4)
    left.bar(_labels(), [summary.shares[i] for i in range(BINS)], color=plots.COLORS["blue"])
    left.tick_params(axis="x", rotation=60)
    left.set(ylabel="students", title="share of the points")
    share = [
        earned / (points * summary.students) if summary.students and points else 0.0
        for _, points, earned, _ in summary.earned.values()
    ]
    right.barh([printable(name) for name in summary.earned], share, color=plots.COLORS["green"])
    right.invert_yaxis()
    right.set(xlim=(0, 1), title="mean share of the points, by exercise")
    rows = "".join(
        f"<tr><td>{safe(student)}</td><td>{score:.2f}</td><td>{maximum:g}</td><td>{safe(remark)}</td></tr>"
        for student, score, maximum, remark in summary.rows
    )
    svg = plots.svg_with_variables(fig)
    colours = sorted(set(re.findall(r"var\((--cr-[\w-]+), ?(#[0-9a-f]{6})\)", svg)))
    dark = "; ".join(f"{name}: {plots.DARK[light]}" for name, light in colours if light in plots.DARK)
    style = f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n" + (
        STYLE.replace("46rem", "64rem")
        + "table { border-collapse: collapse } td, th { border: 1px solid var(--line); padding: .2rem .5rem }"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Marks: {html.escape(chapter)}</title><style>{style}</style></head><body><main>"
        f"<h1>Marks: {html.escape(chapter)}</h1>"
        f"<p>{summary.students} students, mean {summary.mean:.2f} of {summary.maximum:g} points; "
        f"{summary.ungradable} could not be run, "
        f"{summary.late} lost marks for lateness.</p>"
        '<div role="img" aria-label="Two bar charts: how many students reached which share of the points, '
        'and the mean share for each exercise; the same numbers stand in the table of marks">'
        f"{svg}</div>"
        f"<table><thead><tr><th>student</th><th>score</th><th>of</th><th>remark</th></tr></thead><tbody>{rows}</tbody></table>"
        "</main></body></html>\n"
    )
