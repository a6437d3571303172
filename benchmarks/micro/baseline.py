"""The recorded instruction counts, and what may be compared with them."""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

PACKAGES = ("anyio", "httptools", "msgspec", "orjson", "websockets")
"""What the core computes with; another version is another count."""
TOLERANCE = 0.03
BASELINE = Path(__file__).with_name("baseline.json")
OWN_CODE = Path(__file__).parents[2] / "sio_core"


def environment() -> dict[str, str]:
    """Everything that decides a count besides the code itself."""
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "machine": platform.machine(),
        "libc": "-".join(platform.libc_ver()),
        "sio_core": "compiled" if any(OWN_CODE.rglob("*.so")) else "pure",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


@dataclass(frozen=True, slots=True)
class Record:
    """The instructions of one run of each case, in one environment."""

    environment: dict[str, str]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A case whose count is not what was recorded; `None` where there is none."""

    case: str
    recorded: int | None
    counted: int | None

    def __str__(self) -> str:
        if self.recorded is None:
            return f"{self.case}: {self.counted:,} instructions, and none recorded"
        if self.counted is None:
            return f"{self.case}: recorded, and gone"
        change = self.counted / self.recorded - 1
        return f"{self.case}: {self.recorded:,} instructions recorded, {self.counted:,} now ({change:+.1%})"


@dataclass(slots=True)
class Baseline:
    """One record for each environment."""

    records: list[Record]

    @classmethod
    def read(cls, path: Path = BASELINE) -> Self:
        """Read the records; none where there is no file."""
        if not path.exists():
            return cls([])
        content: list[dict[str, Any]] = json.loads(path.read_text())
        return cls([Record(**record) for record in content])

    def write(self, path: Path = BASELINE) -> None:
        """Write them for review: one line a count, in a stable order."""
        records = sorted((asdict(record) for record in self.records), key=json.dumps)
        path.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")

    def find(self, environment: dict[str, str]) -> Record | None:
        """The record of exactly this environment."""
        return next((record for record in self.records if record.environment == environment), None)

    def put(self, record: Record) -> None:
        """Keep a record, in place of the one of the same environment."""
        self.records = [known for known in self.records if known.environment != record.environment]
        self.records.append(record)


def differences(recorded: dict[str, int], counted: dict[str, int]) -> list[Difference]:
    """The cases that are off by more than the tolerance, new or gone."""
    found = []
    for case in sorted(recorded.keys() | counted.keys()):
        before, now = recorded.get(case), counted.get(case)
        if before is None or now is None or abs(now - before) > TOLERANCE * before:
            found.append(Difference(case, before, now))
    return found
