"""What may differ between two runs of the same conversation: ids, times and the address."""

from __future__ import annotations

import re

REPLACEMENTS = (
    (re.compile(r'"(sid|pid)":"[\w-]{16,}"'), r'"\1":"<\1>"'),
    (re.compile(r"\b[\w-]{20}\b"), "<id>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
)


def normalise(text: str) -> str:
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text
