// A detector: reports when a series leaves the range between `low` and `high`, gets worse, and is
// back.
//
// The engine has neither clock nor randomness here, and needs none. The time comes with the
// samples. Equal samples must give equal findings, wherever a frame ends.

const SETTINGS = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  required: ["low", "high"],
  properties: {
    low: { type: "number", description: "The lowest value that is expected." },
    high: { type: "number", description: "The highest value that is expected." },
    for_samples: { type: "integer", minimum: 1, default: 1, description: "So many in a row outside are an onset." },
    clear_samples: { type: "integer", minimum: 1, default: 3, description: "So many in a row inside are the end." },
  },
};

// Factor by which the severity must grow before the anomaly is reported again. Nobody would read a
// report with every sample.
const WORSE = 1.5;

// Thrown errors must be errors of the contract. Any other exception is a trap, and the instance is
// lost.
const invalid = (message) => ({ tag: "invalid", val: message });
const failed = (message) => ({ tag: "failed", val: message });

// Reads the settings. The schema is for people and forms. People write settings by hand, so the
// error names the first wrong key.
function read(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw invalid(`the settings are not JSON: ${error.message}`);
  }
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw invalid("the settings are not an object");
  }
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(SETTINGS.properties, key));
  if (unknown !== undefined) {
    throw invalid(`\`${unknown}\` is no setting: there are ${Object.keys(SETTINGS.properties).join(", ")}`);
  }
  const settings = {};
  for (const [key, { type, minimum, default: otherwise }] of Object.entries(SETTINGS.properties)) {
    const value = Object.hasOwn(given, key) ? given[key] : otherwise;
    const good = type === "integer" ? Number.isSafeInteger(value) && value >= minimum : Number.isFinite(value);
    if (!good) {
      const want = type === "integer" ? `a whole number of at least ${minimum}` : "a number";
      throw invalid(`\`${key}\` is ${JSON.stringify(value) ?? "missing"}: give ${want}`);
    }
    settings[key] = value;
  }
  if (!(half(settings) > 0)) {
    throw invalid(`\`high\` is ${settings.high}: give a number above \`low\`, which is ${settings.low}`);
  }
  return settings;
}

// The limits are halved before the subtraction, because their difference could be infinite.
const half = ({ low, high }) => high / 2 - low / 2;

class Monitor {
  // The contract's constructor. It is not `new`, which could not return an error.
  static open(settings) {
    return new Monitor(read(settings));
  }

  constructor(settings) {
    this.low = settings.low;
    this.high = settings.high;
    this.forSamples = settings.for_samples;
    this.clearSamples = settings.clear_samples;
    this.half = half(settings);
    this.middle = this.low + this.half;
    // State of each series by the host's id. The host never uses an id for another series.
    this.series = new Map();
  }

  // An interpreter runs this function. It therefore does little for a calm sample, and the rest
  // only for other samples.
  observe({ opened, closed, ids, at, values }, wantScores) {
    for (const { id } of opened) {
      // `outside` and `back` are numbers of consecutive samples. `told` is the severity of the last
      // report, 0 while the series is calm.
      this.series.set(id, { outside: 0, back: 0, told: 0, direction: "above" });
    }
    const scores = new Float64Array(wantScores ? values.length : 0);
    const findings = [];
    for (let sample = 0; sample < values.length; sample++) {
      const value = values[sample];
      const series = this.series.get(ids[sample]);
      if (series === undefined) {
        throw failed(`sample ${sample} is of series ${ids[sample]}, which is not open`);
      }
      if (wantScores) {
        scores[sample] = this.score(value);
      }
      const change = this.look(series, value);
      if (change !== undefined) {
        const score = this.score(value);
        const expected = { low: this.low, high: this.high };
        findings.push({ sample, score, severity: score, expected, ...change });
      }
    }
    // Series are closed after the samples, because a frame may hold the last samples of a series
    // and its end.
    for (const id of closed) {
      this.series.delete(id);
    }
    // The engine collects garbage late. Without this, old frames would pile up until the instance
    // reaches its limit.
    for (const { buffer } of [closed, ids, at, values]) {
      buffer.transfer(0);
    }
    return { scores, findings };
  }

  // Returns the distance from the middle of the range. 1 is the edge. The contract requires a
  // finite score.
  score(value) {
    return Math.min(Math.abs(value - this.middle) / this.half, Number.MAX_VALUE);
  }

  // Moves one series on by one sample. Returns a change of phase, or nothing.
  look(series, value) {
    const { low, high } = this;
    if (value >= low && value <= high) {
      series.outside = 0;
      series.back += 1;
      if (series.told === 0 || series.back < this.clearSamples) {
        return undefined;
      }
      series.told = 0;
      const reason = `${value} is between ${low} and ${high} again, for ${series.back} samples in a row`;
      return { phase: "clear", direction: series.direction, reason };
    }
    series.outside += 1;
    series.back = 0;
    const severity = this.score(value);
    const onset = series.told === 0;
    if (onset ? series.outside < this.forSamples : severity < series.told * WORSE) {
      return undefined;
    }
    series.told = severity;
    series.direction = value > high ? "above" : "below";
    const reason = value > high ? `${value} is above ${high}` : `${value} is below ${low}`;
    return { phase: onset ? "onset" : "ongoing", direction: series.direction, reason };
  }
}

export const detector = {
  describe() {
    return {
      about: {
        name: "javascript-range",
        version: "0.1.0",
        summary: "whether a series is in a fixed range (an example in JavaScript)",
        settings: JSON.stringify(SETTINGS),
      },
      // A fixed range has nothing to learn from the past. A 64-bit integer is a BigInt.
      historyMs: 0n,
    };
  },
  Monitor,
};
