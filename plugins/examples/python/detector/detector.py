"""A detector: says when a series leaves the range between `low` and `high`, gets worse, and is back.

There is neither clock nor randomness here, and no need of them: the time comes with the samples, and the same samples must
give the same findings wherever a frame ends.
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

# It is told again when it got worse by half: with every sample, nobody would read it.
WORSE = 1.5


def invalid(message: str) -> Err:
    """An error of the contract. Anything else that is raised is a trap, and the instance is lost."""
    return Err(Error_Invalid(message))


def read(text: str) -> dict[str, Any]:
    """The schema is for people and forms. What arrives was written by hand, so that the first wrong key is named."""
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
    """Half the width of the range. Halved before they are subtracted: the difference could be infinite."""
    return settings["high"] / 2 - settings["low"] / 2


@dataclass(slots=True)
class Series:
    """What is remembered of one series."""

    # Samples in a row.
    outside: int = 0
    back: int = 0
    # The severity that was told last; 0 while all is well.
    told: float = 0.0
    direction: Direction = Direction.ABOVE


class Monitor:
    """The class behind the resource of the contract has its name; so has each method."""

    @classmethod
    def open(cls, settings: str) -> "Monitor":
        """The contract's constructor: one of Python's could not return an error."""
        return cls(read(settings))

    def __init__(self, settings: dict[str, Any]) -> None:
        self.low: float = settings["low"]
        self.high: float = settings["high"]
        self.for_samples: int = settings["for_samples"]
        self.clear_samples: int = settings["clear_samples"]
        self.half = half(settings)
        self.middle = self.low + self.half
        # By the host's id, which is never used for another series.
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
        # After the samples: a frame may hold the last ones of a series and its end.
        for id in frame.closed:
            self.series.pop(id, None)
        return Verdict(scores, findings)

    def score(self, value: float) -> float:
        """The distance from the middle of the range; 1 is its edge. Finite, as the contract wants it."""
        return min(abs(value - self.middle) / self.half, sys.float_info.max)

    def look(self, series: Series, sample: int, value: float) -> Optional[Finding]:
        """Moves one series on by one sample; what comes of it is a change of phase or nothing."""
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
    """The interface's own functions."""

    def describe(self) -> Description:
        about = About(
            name="python-range",
            version="0.1.0",
            summary="whether a series is in a fixed range (an example in Python)",
            settings=json.dumps(SETTINGS),
        )
        # A fixed range has nothing to learn from the past.
        return Description(about, history_ms=0)
