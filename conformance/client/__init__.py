"""The official client as a judge: its scenarios (``scenarios.mjs``), and the two places where they run."""
