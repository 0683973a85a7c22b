"""Give text files one newline at their end and no spaces at the ends of their lines; fail if any was changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def tidy(text: str) -> str:
    r"""Return a text without trailing spaces and with exactly one newline at its end.

    >>> tidy("a  \nb\n\n")
    'a\nb\n'
    """
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip("\n")
    return f"{text}\n" if text else ""


def main(names: list[str]) -> int:
    """Tidy the named files."""
    changed = False
    for name in names:
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        if tidy(text) != text:
            path.write_text(tidy(text), encoding="utf-8")
            print(f"tidied {name}")
            changed = True
    return int(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
