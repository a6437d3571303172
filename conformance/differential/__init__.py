"""Two servers, the same transcripts, the answers compared byte for byte: what differs is a bug or is allowed.

A difference that is meant stands in ``allowed.py`` with its reason.
"""
