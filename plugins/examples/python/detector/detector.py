"""A detector: reports when a series leaves the range of `low` to `high`, gets worse, and is back.

There is neither clock nor randomness here, and no need for them. The time comes with the samples.
Equal samples must give equal findings, wherever a frame ends.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any, Optional

import wit_world
from componentize_py_types import Err
from wit_world.exports.detector import Description, Direction, Finding, Frame, Phase, Range, Verdict
from wit_world.imports.types import About, Error_Failed, Error_Invalid

SETTINGS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["low", "high"],
    "properties": {
        "low": {"type": "number", "description": "The lowest value that is expected."},
        "high": {"type": "number", "description": "The highest value that is expected."},
        "for_samples": {
            "type": "integer",
            "minimum": 1,
            "default": 1,
            "description": "So many in a row outside are an onset.",
        },
        "clear_samples": {
            "type": "integer",
            "minimum": 1,
            "default": 3,
            "description": "So many in a row inside are the end.",
        },
    },
}

# Factor by which the severity must grow before the anomaly is reported again. Nobody would read a
# report with every sample.
WORSE = 1.5


def invalid(message: str) -> Err:
    """Returns an error of the contract. Any other exception is a trap, and the instance is lost."""
    return Err(Error_Invalid(message))


def read(text: str) -> dict[str, Any]:
    """Reads the settings.

    The schema is for people and forms. People write settings by hand, so the error names the first
    wrong key.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise invalid(f"the settings are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise invalid("the settings are not an object")
    known = SETTINGS["properties"]
    for key in given:
        if key not in known:
            raise invalid(f"`{key}` is no setting: there are {', '.join(known)}")
    settings = {key: given.get(key, schema.get("default")) for key, schema in known.items()}
    for key, schema in known.items():
        value = settings[key]
        # In Python, true is a number.
        if schema["type"] == "integer":
            good = isinstance(value, int) and not isinstance(value, bool) and value >= schema["minimum"]
            want = f"a whole number of at least {schema['minimum']}"
        else:
            good = isinstance(value, int | float) and not isinstance(value, bool)
            want = "a number"
        if not good:
            raise invalid(f"`{key}` is {json.dumps(value) if key in given else 'missing'}: give {want}")
    if not half(settings) > 0:
        raise invalid(f"`high` is {settings['high']}: give a number above `low`, which is {settings['low']}")
    return settings


def half(settings: dict[str, Any]) -> float:
    """Returns half the width of the range.

    The limits are halved before the subtraction, because their difference could be infinite.
    """
    return settings["high"] / 2 - settings["low"] / 2


@dataclass(slots=True)
class Series:
    """State of one series."""

    # Numbers of consecutive samples outside the range, and back in it.
    outside: int = 0
    back: int = 0
    # Severity of the last report; 0 while the series is calm.
    told: float = 0.0
    direction: Direction = Direction.ABOVE


class Monitor:
    """The resource of the contract. The contract fixes the names of the class and its methods."""

    @classmethod
    def open(cls, settings: str) -> "Monitor":
        """The contract's constructor. It is not `__init__`, which could not return an error."""
        return cls(read(settings))

    def __init__(self, settings: dict[str, Any]) -> None:
        self.low: float = settings["low"]
        self.high: float = settings["high"]
        self.for_samples: int = settings["for_samples"]
        self.clear_samples: int = settings["clear_samples"]
        self.half = half(settings)
        self.middle = self.low + self.half
        # State of each series by the host's id. The host never uses an id for another series.
        self.series: dict[int, Series] = {}

    def observe(self, frame: Frame, want_scores: bool) -> Verdict:
        for opened in frame.opened:
            self.series[opened.id] = Series()
        scores: list[float] = []
        findings: list[Finding] = []
        for sample, (id, value) in enumerate(zip(frame.ids, frame.values)):
            series = self.series.get(id)
            if series is None:
                raise Err(Error_Failed(f"sample {sample} is of series {id}, which is not open"))
            if want_scores:
                scores.append(self.score(value))
            if finding := self.look(series, sample, value):
                findings.append(finding)
        # Series are closed after the samples, because a frame may hold the last samples of a series
        # and its end.
        for id in frame.closed:
            self.series.pop(id, None)
        return Verdict(scores, findings)

    def score(self, value: float) -> float:
        """Returns the distance from the middle of the range.

        1 is the edge. The contract requires a finite score.
        """
        return min(abs(value - self.middle) / self.half, sys.float_info.max)

    def look(self, series: Series, sample: int, value: float) -> Optional[Finding]:
        """Moves one series on by one sample. Returns a change of phase, or nothing."""
        if self.low <= value <= self.high:
            series.outside = 0
            series.back += 1
            if series.told == 0 or series.back < self.clear_samples:
                return None
            series.told = 0.0
            reason = f"{value} is between {self.low} and {self.high} again, for {series.back} samples in a row"
            return self.finding(Phase.CLEAR, series, sample, value, reason)
        series.outside += 1
        series.back = 0
        severity = self.score(value)
        onset = series.told == 0
        if series.outside < self.for_samples if onset else severity < series.told * WORSE:
            return None
        series.told = severity
        above = value > self.high
        series.direction = Direction.ABOVE if above else Direction.BELOW
        reason = f"{value} is above {self.high}" if above else f"{value} is below {self.low}"
        return self.finding(Phase.ONSET if onset else Phase.ONGOING, series, sample, value, reason)

    def finding(self, phase: Phase, series: Series, sample: int, value: float, reason: str) -> Finding:
        score = self.score(value)
        return Finding(sample, phase, series.direction, score, score, Range(self.low, self.high), reason)


class Detector(wit_world.exports.Detector):
    """The functions of the interface itself."""

    def describe(self) -> Description:
        about = About(
            name="python-range",
            version="0.1.0",
            summary="whether a series is in a fixed range (an example in Python)",
            settings=json.dumps(SETTINGS),
        )
        # A fixed range has nothing to learn from the past.
        return Description(about, history_ms=0)
