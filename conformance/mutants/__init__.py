"""Deliberately broken servers, by which the suite itself is judged."""
