"""What people and programs read about a run."""

from __future__ import annotations

import json

from conformance.bench import Bench
from conformance.model import Check, Outcome, Result
from conformance.report import Run, as_html, as_json, score_line, table


async def body(bench: Bench) -> None:
    """The checks of these tests are never run."""


PLAIN = Check("engineio.one", "Something <must> be so.", "the specification", body)
STRICT = Check("stricter.two", "Something else.", "caution", body, marks=frozenset({"stricter"}))

RUN = Run(
    "server",
    [
        Result(PLAIN, Outcome.PASSED, 0.1),
        Result(PLAIN, Outcome.FAILED, 0.1, "<a>", "b", ["-> <bytes>"]),
        Result(PLAIN, Outcome.UNSUPPORTED, 0.0),
        Result(STRICT, Outcome.FAILED, 0.1, "c", "d"),
    ],
    1.5,
)


def test_the_score_leaves_stricter_requirements_out() -> None:
    assert score_line(RUN) == "1 of 3 checks passed, 1 failed, 1 not supported; stricter: 0 of 1 (1.5 s)"


def test_the_table_tells_expected_seen_and_source_of_each_failure() -> None:
    text = table(RUN)
    assert "FAIL engineio.one" in text
    assert "expected  <a>" in text
    assert "seen      b" in text
    assert "source    the specification" in text
    assert "pass engineio.one" not in text
    assert "pass engineio.one" in table(RUN, passed=True)


def test_json_holds_every_result() -> None:
    (run,) = json.loads(as_json([RUN]))
    assert run["score"] == {"pass": 1, "fail": 1, "not supported": 1}
    assert run["results"][1]["transcript"] == ["-> <bytes>"]
    assert run["results"][3]["marks"] == ["stricter"]


def test_html_escapes_what_servers_say() -> None:
    page = as_html([RUN])
    assert "Something &lt;must&gt; be so." in page
    assert "-&gt; &lt;bytes&gt;" in page
    assert "<bytes>" not in page
    assert "<details open>" in page
