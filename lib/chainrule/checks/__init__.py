"""Checks of the book's exercises: one line tells a reader whether a function is right and, if it is not, why.

In an exercise notebook we write a function and hand it over::

    from chainrule.checks import check
    check(entropy)

`check` finds the exercise by the function's name, runs the function on a few fixed inputs and on some drawn at random,
and compares what it returns with the reference. What is asked of each exercise is an `Exercise`, kept in one module a
chapter (``chainrule.checks.information_theory`` and so on); `exercises` lists them in the order of the book's pages.
"""

from chainrule.checks._check import CheckResult, check, exercises, find_exercise
from chainrule.checks._record import Exercise, Mistake, Output, Verdict

__all__ = ["CheckResult", "Exercise", "Mistake", "Output", "Verdict", "check", "exercises", "find_exercise"]
