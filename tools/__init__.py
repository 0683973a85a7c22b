"""The programs behind the Makefile's targets."""

import sys

# jsonschema, which everything that reads notebooks imports, compiles a grammar for internationalised web addresses when
# this package is there: more than a second at each start, for a check that nobody asks for. It does without as well.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
