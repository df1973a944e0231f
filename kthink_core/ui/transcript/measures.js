// What the model's own distribution says of each generated token, shaded as a feature is: lit and locked in its place,
// under a number that no feature has.

const SURPRISE = -1;
const ENTROPY = -2;
const LARGE = 1; // Nats: N and P go to where a measure is no smaller.
const LEAST = 0.01; // Nats: what is smaller has no colour, nor a line.
/** @type {Record<number, { name: string, shade: Shade, title: string }>} */
const MEASURES = {
  [SURPRISE]: {
    name: "surprise",
    shade: "surprise",
    title: "−ln p of the token that stands there, in nats: temperature 1, before top-p",
  },
  [ENTROPY]: {
    name: "entropy",
    shade: "entropy",
    title: "−Σ p ln p of all tokens that could stand there, in nats: temperature 1, before top-p",
  },
};

/** @param {Shade} shade @returns {number | null} */
function measureOf(shade) {
  return { features: null, surprise: SURPRISE, entropy: ENTROPY }[shade];
}

/** @param {number | null} lock */
function shadeOf(lock) {
  return (lock !== null && MEASURES[lock]?.shade) || "features";
}

/** @param {Facts} facts @param {number} feature */
function titleOf(facts, feature) {
  return MEASURES[feature]?.name ?? `Feature ${called(facts, feature)}`;
}

// Where a measure is not near 0; null of a feature.
/** @param {Facts} facts @param {number} measure @returns {Track | null} */
function measured(facts, measure) {
  if (!(measure in MEASURES)) return null;
  const positions = [];
  const activations = [];
  for (let position = 0; position < facts.length; position++) {
    const value = measure === SURPRISE ? -Math.log(facts.probabilities[position]) : entropyAt(facts, position);
    if (!(value >= LEAST)) continue;
    positions.push(position);
    activations.push(value);
  }
  const track = { positions, activations, whole: true };
  facts.tracks.set(measure, track);
  return track;
}

/** @param {View} view @param {number} measure */
function measureRow(view, measure) {
  const row = Object.assign(element("li", "row"), { feature: measure });
  const button = featureButton(view, measure);
  button.title = MEASURES[measure].title;
  button.append(element("span", "value", `${numeral(traceMaximum(view.facts, measure), 2)} nats`));
  button.tabIndex = -1;
  row.append(button);
  return row;
}
