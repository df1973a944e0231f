// Which feature fires where, and how strongly: the packed tables, unpacked once for each delivery of data.

const TYPES = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

/** @param {Packed} packed @returns {Values & { subarray(from: number, to: number): Values }} */
function unpack({ dtype, base64 }) {
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return new TYPES[dtype](bytes.buffer);
}

/** @param {Sent} data @returns {Facts} */
function readFacts(data) {
  const facts = {
    ...data,
    length: data.texts.length,
    written: wholeTexts(data.texts, PART),
    segments: data.bands.flatMap((band) => Array(band.tokens).fill(band.segment)),
    counted: data.bands.flatMap((band) => Array(band.tokens).fill(band.counts)),
    ids: unpack(data.ids),
    probabilities: unpack(data.probabilities),
    hover: readHover(data.hover),
    alternatives: data.alternatives && readAlternatives(data.alternatives),
    tracks: readTracks(data.tracks),
    outline: data.outline && readOutline(data.outline),
    ranks: new Map(data.ranked.map((row) => [row.feature, row])),
  };
  return facts;
}

/** @param {Sent["hover"]} packed @returns {Facts["hover"]} */
function readHover({ counts, features, activations }) {
  return { starts: startsOf(counts), features: unpack(features), activations: unpack(activations) };
}

// Where what belongs to each position begins, of what is sent end to end.
/** @param {Packed} counts */
function startsOf(counts) {
  const starts = [0];
  for (const count of unpack(counts)) starts.push(starts[starts.length - 1] + count);
  return starts;
}

/** @param {Sent["tracks"]} packed @returns {Facts["tracks"]} */
function readTracks({ features, counts, positions, activations }) {
  const at = unpack(positions);
  const values = unpack(activations);
  const tracks = new Map();
  let start = 0;
  features.forEach((feature, index) => {
    const end = start + counts[index];
    tracks.set(feature, { positions: at.subarray(start, end), activations: values.subarray(start, end), whole: true });
    start = end;
  });
  return tracks;
}

// The features of a token, strongest first, as far as they were sent.
/** @param {Facts} facts @param {number} position @returns {Firing[]} */
function featuresAt(facts, position) {
  const { starts, features, activations } = facts.hover;
  const found = [];
  for (let at = starts[position]; at < starts[position + 1]; at++) {
    found.push({ feature: features[at], activation: activations[at] });
  }
  return found;
}

// Where a feature fires: exactly, where its track was sent, else where it is among the first features of a token.
/** @param {Facts} facts @param {number} feature @returns {Track} */
function trackOf(facts, feature) {
  const known = facts.tracks.get(feature) ?? measured(facts, feature);
  if (known) return known;
  const positions = [];
  const activations = [];
  const { starts, features } = facts.hover;
  for (let position = 0; position < facts.length; position++) {
    for (let at = starts[position]; at < starts[position + 1]; at++) {
      if (features[at] !== feature) continue;
      positions.push(position);
      activations.push(facts.hover.activations[at]);
    }
  }
  const track = { positions, activations, whole: facts.features.includes(feature) || facts.locked === feature };
  facts.tracks.set(feature, track);
  return track;
}

// The largest activation of a feature at the positions of this trace that the scope counts.
/** @param {Facts} facts @param {number} feature */
function traceMaximum(facts, feature) {
  const track = trackOf(facts, feature);
  if (track.maximum === undefined) {
    let maximum = facts.ranks.get(feature)?.maximum ?? 0;
    for (let index = 0; index < track.positions.length; index++) {
      if (facts.counted[track.positions[index]]) maximum = Math.max(maximum, track.activations[index]);
    }
    track.maximum = maximum;
  }
  return track.maximum;
}

// At how many of the positions that the scope counts it fires.
/** @param {Facts} facts @param {number} feature */
function shareOf(facts, feature) {
  const counted = facts.counted.filter(Boolean).length;
  const firing = Array.from(trackOf(facts, feature).positions).filter((position) => facts.counted[position]).length;
  return counted ? firing / counted : 0;
}

// What an activation is divided by, and whether that is the maximum of the trace or of the experiment.
// Where two traces share a scale, it is the larger of both.
/** @param {Facts} facts @param {number} feature @param {Basis} basis @returns {{ maximum: number, basis: Basis }} */
function maximumOf(facts, feature, basis) {
  const everywhere = facts.maxima[feature];
  if (basis === "experiment" && everywhere) return { maximum: everywhere, basis };
  return { maximum: Math.max(traceMaximum(facts, feature), facts.shared[feature] ?? 0), basis: "trace" };
}

// Whether two lists of numbers, or two nulls, say the same.
/** @param {unknown} one @param {unknown} other */
function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
