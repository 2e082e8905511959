// An action: notifies people, restarts the target, waits, and inspects the target.
//
// The action changes nothing itself. It asks the host for one operation after another, and the host
// returns the outcome of each: done, denied by the grants, the guard or a person, failed, or in
// doubt. The action may depend on nothing but these outcomes. After a crash, the host opens it
// anew, gives it the same outcomes, and expects the same steps.

import { log } from "anomalyzer:plugin/log@0.1.0";

const KINDS = ["Deployment", "StatefulSet", "DaemonSet", "Process"];

const PARAMETERS = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  properties: {
    channel: { type: "string", minLength: 1, default: "default", description: "The configured channel to tell." },
    settle_ms: {
      type: "integer",
      minimum: 0,
      maximum: 600_000,
      default: 10_000,
      description: "How long after the restart to look again, in milliseconds.",
    },
  },
};

const invalid = (message) => ({ tag: "invalid", val: message });
const failed = (message) => ({ tag: "failed", val: message });

// Reads the parameters. A language model that proposed them receives the error message.
function read(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw invalid(`the parameters are not JSON: ${error.message}`);
  }
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw invalid("the parameters are not an object");
  }
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(PARAMETERS.properties, key));
  if (unknown !== undefined) {
    throw invalid(`\`${unknown}\` is no parameter: there are ${Object.keys(PARAMETERS.properties).join(", ")}`);
  }
  const { channel, settle_ms: settle } = PARAMETERS.properties;
  const parameters = { channel: channel.default, settle_ms: settle.default, ...given };
  if (typeof parameters.channel !== "string" || parameters.channel === "") {
    throw invalid(`\`channel\` is ${JSON.stringify(parameters.channel)}: give the name of a configured channel`);
  }
  const wait = parameters.settle_ms;
  if (!(Number.isInteger(wait) && wait >= settle.minimum && wait <= settle.maximum)) {
    throw invalid(`\`settle_ms\` is ${JSON.stringify(wait)}: give ${settle.minimum} to ${settle.maximum}`);
  }
  return parameters;
}

const perform = (tag, val) => ({ tag: "perform", val: { tag, val } });
const waitMs = (ms) => ({ tag: "wait-ms", val: ms });
const finished = (summary) => ({ tag: "finished", val: summary });
const gaveUp = (reason) => ({ tag: "gave-up", val: reason });

const WHY_NOT = { denied: "was denied", failed: "failed", "in-doubt": "may have happened or not" };
const whyNot = (outcome) => `${WHY_NOT[outcome.tag]}: ${outcome.val}`;

// Yields one step at a time. `yield` returns the outcome of the step.
function* steps({ id, target, snapshot }, { channel, settle_ms }) {
  if (target === undefined) {
    return gaveUp("it is not known what to restart: there is no target");
  }
  const name = `${target.namespace}/${target.kind}/${target.name}`;
  if (!KINDS.includes(target.kind)) {
    return gaveUp(`${name} can't be restarted: it is none of ${KINDS.join(", ")}`);
  }
  if (JSON.parse(snapshot)?.rolling_out) {
    return gaveUp(`${name} is being rolled out: a restart would get in its way`);
  }

  const told = yield perform("notify", { channel, title: `restarting ${name}`, text: `incident: ${id}` });
  if (told.tag !== "done") {
    // A failed notice is no reason to leave the service broken.
    log("warn", `the notice to ${channel} ${whyNot(told)}`);
  }

  const restarted = yield perform("restart", target);
  if (restarted.tag !== "done") {
    // This includes an outcome in doubt: the host keeps watching, and a second restart could be one
    // too many.
    return gaveUp(`the restart of ${name} ${whyNot(restarted)}`);
  }

  yield waitMs(settle_ms);
  const seen = yield perform("inspect", target);
  if (seen.tag !== "done") {
    return finished(`restarted ${name}; the look at it ${whyNot(seen)}`);
  }
  // The answer may lack any field: a target may have no replicas, and another version of the host
  // may return more or less.
  const { desired, ready } = JSON.parse(seen.val)?.replicas ?? {};
  return finished(`restarted ${name}` + (desired === undefined ? "" : `: ${ready} of ${desired} replicas are ready`));
}

class Run {
  static open(incident, parameters) {
    return new Run(steps(incident, read(parameters)));
  }

  constructor(steps) {
    this.steps = steps;
  }

  // The first call, with `begin`, starts the generator, which does not receive it.
  next(_now, last) {
    const { value } = this.steps.next(last);
    if (value === undefined) {
      throw failed("asked for a step after the last");
    }
    return value;
  }
}

export const action = {
  describe() {
    const restarts = KINDS.map((scope) => ({ operation: "restart", scope }));
    return {
      about: {
        name: "javascript-announced-restart",
        version: "0.1.0",
        summary: "tells people, restarts the target and looks at what became of it (an example in JavaScript)",
        settings: JSON.stringify(PARAMETERS),
      },
      // All operations that the steps may ask for. The operator grants all of them, some of them,
      // or none.
      needs: [{ operation: "notify", scope: "*" }, ...restarts, { operation: "inspect", scope: "*" }],
    };
  },
  Run,
};
