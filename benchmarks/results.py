"""Everything one run found, as JSON and back."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.measure import Sample

SCHEMA = 1


@dataclass(slots=True)
class Results:
    """The samples of a run by workload and server, in the order of the rounds."""

    settings: dict[str, float]
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    """Why a server has no figures for a workload."""

    def add(self, workload: str, server: str, sample: Sample) -> None:
        """Keep the sample of one round."""
        self.samples.setdefault(workload, {}).setdefault(server, []).append(sample)

    def add_failure(self, workload: str, server: str, reason: str) -> None:
        """Keep why there is no sample."""
        self.failures.setdefault(workload, {})[server] = reason

    def failed(self, workload: str, server: str) -> bool:
        """Whether the server has failed in this workload."""
        return server in self.failures.get(workload, {})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        content: dict[str, Any] = json.loads(path.read_text())
        if content.pop("schema") != SCHEMA:
            raise ValueError("written by another version of the benchmarks")
        content["samples"] = {
            workload: {server: [Sample(**sample) for sample in rounds] for server, rounds in servers.items()}
            for workload, servers in content["samples"].items()
        }
        return cls(**content)
