"""An action: tells people, restarts the target, waits, and looks at what became of it.

It touches nothing itself. It asks for one operation after another, and the host says what came of each: done, denied by the
grants, the guard or a person, failed, or in doubt. That is all that it may depend on: after a crash the host opens it anew,
tells it the same outcomes, and expects the same steps.
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
    """An error of the contract. Anything else that is raised is a trap, and the instance is lost."""
    return Err(Error_Invalid(message))


def read(text: str) -> dict[str, Any]:
    """Also what a language model proposed ends up here: the message is what it is told."""
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
    """What is told may lack anything: a target without replicas, a version of the host that says more or less."""
    return told.get(name) if isinstance(told, dict) else None


def steps(incident: Incident, parameters: dict[str, Any]) -> Generator[action.Step, action.Outcome, None]:
    """One step each time it is asked; what `yield` returns is what came of it."""
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
        # People who can't be told are no reason to leave the service broken.
        log(Level.WARN, f"the notice to {notice.channel} {why_not(told)}")

    restarted = yield action.Step_Perform(action.Operation_Restart(target))
    if not isinstance(restarted, action.Outcome_Done):
        # Also when in doubt: the host goes on looking, and a second restart could be one too many.
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
    """The class behind the resource of the contract has its name; so has each method."""

    @classmethod
    def open(cls, incident: Incident, parameters: str) -> "Run":
        return cls(steps(incident, read(parameters)))

    def __init__(self, steps: Generator[action.Step, action.Outcome, None]) -> None:
        self.steps = steps

    def next(self, now: int, last: action.Outcome) -> action.Step:
        try:
            # A generator is started with nothing: `begin` tells it nothing either.
            return self.steps.send(None if isinstance(last, action.Outcome_Begin) else last)
        except StopIteration:
            raise Err(Error_Failed("asked for a step after the last")) from None


class Action(wit_world.exports.Action):
    """The interface's own functions."""

    def describe(self) -> Description:
        about = About(
            name="python-announced-restart",
            version="0.1.0",
            summary="tells people, restarts the target and looks at what became of it (an example in Python)",
            settings=json.dumps(PARAMETERS),
        )
        # All that its steps may ask for. The operator grants it, or part of it, or nothing.
        restarts = [Need("restart", kind) for kind in KINDS]
        return Description(about, [Need("notify", "*"), *restarts, Need("inspect", "*")])
