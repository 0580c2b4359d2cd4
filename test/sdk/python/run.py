"""Runs all cases, and tells of each as it ends: one line of JSON, `case` and `failure` (or null).

The network is told by its environment: see `network.py`.
"""

import json
import sys
import unittest
from pathlib import Path


class Told(unittest.TestResult):
    """A case that isn't told as passed has failed."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}

    def note(self, case, error) -> None:
        self.reasons[case.id()] = self._exc_info_to_string(error, case)

    addFailure = addError = note

    def addSkip(self, case, reason) -> None:
        self.reasons[case.id()] = f"skipped: {reason}"

    def stopTest(self, case) -> None:
        super().stopTest(case)
        line = {"case": case.id(), "failure": self.reasons.get(case.id())}
        print(json.dumps(line), flush=True)


def flat(suite):
    for part in suite:
        yield from flat(part) if isinstance(part, unittest.TestSuite) else [part]


def line_of(case) -> int:
    return getattr(type(case), case._testMethodName).__code__.co_firstlineno


here = Path(__file__).parent
sys.path.insert(0, str(here))
result = Told()
for file in sorted(here.glob("test_*.py")):
    cases = flat(unittest.defaultTestLoader.loadTestsFromName(file.stem))
    unittest.TestSuite(sorted(cases, key=line_of)).run(result)
