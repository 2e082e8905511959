"""An action: notifies people, restarts the target, waits, and inspects the target.

The action changes nothing itself. It asks the host for one operation after another, and the host
returns the outcome of each: done, denied by the grants, the guard or a person, failed, or in
doubt. The action may depend on nothing but these outcomes. After a crash, the host opens it anew,
gives it the same outcomes, and expects the same steps.
"""

import json
from collections.abc import Generator
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world.exports import action
from wit_world.exports.action import Description, Incident, Need, Notice
from wit_world.imports.log import Level, log
from wit_world.imports.types import About, Error_Failed, Error_Invalid

KINDS = ["Deployment", "StatefulSet", "DaemonSet", "Process"]

PARAMETERS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "channel": {
            "type": "string",
            "minLength": 1,
            "default": "default",
            "description": "The configured channel to tell.",
        },
        "settle_ms": {
            "type": "integer",
            "minimum": 0,
            "maximum": 600_000,
            "default": 10_000,
            "description": "How long after the restart to look again, in milliseconds.",
        },
    },
}


def invalid(message: str) -> Err:
    """Returns an error of the contract. Any other exception is a trap, and the instance is lost."""
    return Err(Error_Invalid(message))


def read(text: str) -> dict[str, Any]:
    """Reads the parameters. A language model that proposed them receives the error message."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise invalid(f"the parameters are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise invalid("the parameters are not an object")
    known = PARAMETERS["properties"]
    for key in given:
        if key not in known:
            raise invalid(f"`{key}` is no parameter: there are {', '.join(known)}")
    parameters = {key: schema["default"] for key, schema in known.items()} | given
    channel, wait = parameters["channel"], parameters["settle_ms"]
    if not isinstance(channel, str) or not channel:
        raise invalid(f"`channel` is {json.dumps(channel)}: give the name of a configured channel")
    least, most = known["settle_ms"]["minimum"], known["settle_ms"]["maximum"]
    # In Python, true is a number.
    if not isinstance(wait, int) or isinstance(wait, bool) or not least <= wait <= most:
        raise invalid(f"`settle_ms` is {json.dumps(wait)}: give {least} to {most}")
    return parameters


def why_not(outcome: action.Outcome) -> str:
    match outcome:
        case action.Outcome_Denied(reason):
            return f"was denied: {reason}"
        case action.Outcome_Failed(reason):
            return f"failed: {reason}"
        case action.Outcome_InDoubt(reason):
            return f"may have happened or not: {reason}"
    raise Err(Error_Failed("told that nothing happened while an operation was asked for"))


def part(told: Any, name: str) -> Any:
    """Returns a field of an answer, or None.

    The answer may lack any field: a target may have no replicas, and another version of the host
    may return more or less.
    """
    return told.get(name) if isinstance(told, dict) else None


def steps(incident: Incident, parameters: dict[str, Any]) -> Generator[action.Step, action.Outcome, None]:
    """Yields one step at a time. `yield` returns the outcome of the step."""
    target = incident.target
    if target is None:
        yield action.Step_GaveUp("it is not known what to restart: there is no target")
        return
    name = f"{target.namespace}/{target.kind}/{target.name}"
    if target.kind not in KINDS:
        yield action.Step_GaveUp(f"{name} can't be restarted: it is none of {', '.join(KINDS)}")
        return
    if part(json.loads(incident.snapshot), "rolling_out"):
        yield action.Step_GaveUp(f"{name} is being rolled out: a restart would get in its way")
        return

    notice = Notice(parameters["channel"], f"restarting {name}", f"incident: {incident.id}")
    told = yield action.Step_Perform(action.Operation_Notify(notice))
    if not isinstance(told, action.Outcome_Done):
        # A failed notice is no reason to leave the service broken.
        log(Level.WARN, f"the notice to {notice.channel} {why_not(told)}")

    restarted = yield action.Step_Perform(action.Operation_Restart(target))
    if not isinstance(restarted, action.Outcome_Done):
        # This includes an outcome in doubt: the host keeps watching, and a second restart could be
        # one too many.
        yield action.Step_GaveUp(f"the restart of {name} {why_not(restarted)}")
        return

    yield action.Step_WaitMs(parameters["settle_ms"])
    seen = yield action.Step_Perform(action.Operation_Inspect(target))
    if not isinstance(seen, action.Outcome_Done):
        yield action.Step_Finished(f"restarted {name}; the look at it {why_not(seen)}")
        return
    replicas = part(json.loads(seen.value), "replicas")
    ready, desired = part(replicas, "ready"), part(replicas, "desired")
    counted = "" if desired is None else f": {ready} of {desired} replicas are ready"
    yield action.Step_Finished(f"restarted {name}{counted}")


class Run:
    """The resource of the contract. The contract fixes the names of the class and its methods."""

    @classmethod
    def open(cls, incident: Incident, parameters: str) -> "Run":
        return cls(steps(incident, read(parameters)))

    def __init__(self, steps: Generator[action.Step, action.Outcome, None]) -> None:
        self.steps = steps

    def next(self, now: int, last: action.Outcome) -> action.Step:
        try:
            # A generator is started with None. `begin` carries no outcome either.
            return self.steps.send(None if isinstance(last, action.Outcome_Begin) else last)
        except StopIteration:
            raise Err(Error_Failed("asked for a step after the last")) from None


class Action(wit_world.exports.Action):
    """The functions of the interface itself."""

    def describe(self) -> Description:
        about = About(
            name="python-announced-restart",
            version="0.1.0",
            summary="tells people, restarts the target and looks at what became of it (an example in Python)",
            settings=json.dumps(PARAMETERS),
        )
        # All operations that the steps may ask for. The operator grants all of them, some of them,
        # or none.
        restarts = [Need("restart", kind) for kind in KINDS]
        return Description(about, [Need("notify", "*"), *restarts, Need("inspect", "*")])
