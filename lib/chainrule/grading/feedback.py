"""Feedback for a student: one HTML file that needs nothing else, safe against whatever a submission wrote or printed.

Everything that comes from a submission is escaped, there is no script in the file, and a content security policy in its
head forbids any that should slip in.
"""

import html
import json
import os
import re
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from chainrule.grading.results import ExerciseResult, Graded

__all__ = ["feedback_html", "file_name", "write_atomically", "write_feedback"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --soft: #f3f4f6; --line: #8b929a; \
--good: #0b6b4f; --bad: #a33b00; --link: #0a58a6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --soft: #23262c; --line: #8b929a; \
--good: #4fc7a0; --bad: #ff9c66; --link: #7cb7ff } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); \
max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 0 }
section { border-left: .3rem solid var(--bad); background: var(--soft); padding: .7rem 1rem; margin: 1rem 0 }
section.full { border-color: var(--good) }
a { color: var(--link) } .marks { float: right; margin: 0 } dt { font-weight: 600 } dd { margin: 0 0 .4rem 0 }
pre, code { font: .875rem/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
pre { border: 1px solid var(--line); padding: .5rem; max-height: 20rem; overflow: auto }
"""
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Text without characters that cannot be seen, that turn text around, or that steer a terminal.

    >>> printable("a\x1b[31mb\u202ec\x00")
    'a�[31mb�c�'
    """
    return INVISIBLE.sub("\ufffd", text)


def safe(text: str) -> str:
    """Text that may stand anywhere in the HTML: escaped, no characters that cannot be seen or that turn text around.

    >>> safe("<script>alert('hi')</script>")
    '&lt;script&gt;alert(&#x27;hi&#x27;)&lt;/script&gt;'
    """
    return html.escape(printable(text), quote=True)


def _points(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _exercise(one: ExerciseResult, site: str) -> str:
    full = one.earned >= one.points
    page = f"{site}chapters/{one.page}.html"
    parts = [
        f'<section class="{"full" if full else "part"}">',
        f'<p class="marks">{_points(one.earned)} of {_points(one.points)} points</p>',
        f"<h2>{safe(one.title)} <code>{safe(one.name)}</code></h2>",
        f"<p>{one.right} of {one.cases} inputs right.</p>" if one.cases else "",
    ]
    if full and one.sentence:
        parts.append(f"<p>{safe(one.sentence)}</p>")
    if not full:
        facts = [("Input", one.inputs), ("Returned", one.returned), ("Expected", one.expected)]
        shown = "".join(f"<dt>{what}</dt><dd><code>{safe(value)}</code></dd>" for what, value in facts if value)
        parts.append(f"<p>{safe(one.sentence)}</p>" + (f"<dl>{shown}</dl>" if shown else ""))
        if one.hint:
            parts.append(f"<p><strong>Hint.</strong> {safe(one.hint)}</p>")
        parts.append(f'<p>Read again: <a href="{safe(page)}" rel="noreferrer">{safe(one.page)}</a></p>')
    return "\n".join([*parts, "</section>"])


def feedback_html(graded: Graded, site: str) -> str:
    """The feedback page of one submission.

    Args:
        graded: its marks
        site: the address of the book, ending in ``/``, for links to the chapter

    Returns:
        A whole HTML document without scripts.
    """
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Feedback: {safe(graded.chapter)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{safe(graded.student)}: {_points(graded.score)} of {_points(graded.maximum)} points</h1>",
        f"<p>Exercises of the chapter {safe(graded.chapter)}. File {safe(graded.file)}, attempt {graded.attempt}.</p>",
    ]
    if graded.penalty:
        late = graded.late_seconds / 3600
        lines.append(
            f"<p>It came {late:.1f} hours after the deadline, "
            f"which costs {100 * graded.penalty:.0f} percent of the marks.</p>"
        )
    if graded.problems:
        lines.append("<h2>About the notebook as a whole</h2><ul>")
        lines += [f"<li>{safe(problem)}</li>" for problem in graded.problems] + ["</ul>"]
    lines += [_exercise(one, site) for one in graded.exercises]
    if graded.printed:
        lines.append(f"<h2>What the notebook printed</h2><pre tabindex='0'>{safe(graded.printed)}</pre>")
    lines.append(
        f"<p>The inputs were drawn for this submission alone (seed {graded.seed}); with the course's records the mark "
        "can be reproduced. If you think it is wrong, name the exercise and the seed.</p></main></body></html>"
    )
    return "\n".join(lines) + "\n"


def file_name(student: str) -> str:
    """A file name for a student that is safe on every system and that no other student has.

    >>> file_name("Ada Lovelace"), file_name("../../etc/passwd")
    ('Ada-Lovelace-7674021617159190', 'etc-passwd-3754d6cb3a38e118')
    """
    readable = re.sub(r"[^A-Za-z0-9]+", "-", student).strip("-")[:40]
    digest = sha256(student.encode(errors="surrogatepass")).hexdigest()
    return f"{readable or 'student'}-{digest[:16]}"


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a file, given whole or in parts, so that a reader sees the old one or the new one, never a piece.

    Only its owner may read it.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_feedback(results: Iterable[Graded], folder: Path, site: str) -> int:
    """Write an HTML page and the JSON behind it for each result; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for graded in results:
        count += 1
        name = file_name(graded.student)
        write_atomically(folder / f"{name}.html", feedback_html(graded, site))
        record = json.loads(graded.to_json()) | {"score": graded.score, "maximum": graded.maximum}
        write_atomically(
            folder / f"{name}.json", json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
        )
    return count
