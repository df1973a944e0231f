// The whole trace at a glance: a strip as tall as the window onto the tokens, with a lane for each lit feature and a line
// in it where the feature fires.

/** @param {View} view */
function newStrip(view) {
  const strip = element("canvas", "strip");
  strip.setAttribute("aria-hidden", "true"); // What it does, the keys N and P do too.
  strip.title = "Where the lit features fire in the whole trace. Click to go there.";
  strip.addEventListener("click", (event) => {
    const box = strip.getBoundingClientRect();
    const position = Math.floor(((event.clientY - box.top) / box.height) * view.facts.length);
    const { positions } = nearestTrack(view, position);
    const near = positions.reduce(
      (best, other) => (Math.abs(other - position) < Math.abs(best - position) ? other : best),
      positions[0] ?? position,
    );
    // A pixel stands for many tokens: what the click is meant for is the line there.
    const target = Math.abs(near - position) * box.height <= 4 * view.facts.length ? near : position;
    goTo(view, target);
    flash(view.tokens[target]);
  });
  new ResizeObserver(() => drawStrip(view)).observe(strip);
  return strip;
}

/** @param {View} view @param {number} position */
function nearestTrack(view, position) {
  /** @param {Pick<Track, "positions">} track */
  const distance = ({ positions }) => positions.reduce((least, at) => Math.min(least, Math.abs(at - position)), Infinity);
  const tracks = litFeatures(view).map((feature) => trackOf(view.facts, feature));
  /** @type {Pick<Track, "positions">} */
  const none = { positions: [] };
  return tracks.reduce((best, track) => (distance(track) < distance(best) ? track : best), none);
}

/** @param {View} view */
function drawStrip(view) {
  const { strip, facts } = view;
  const scale = window.devicePixelRatio;
  const [width, height] = [strip.clientWidth * scale, strip.clientHeight * scale].map(Math.round);
  const canvas = strip.getContext("2d");
  if (!width || !height || !facts?.length || !canvas) return;
  [strip.width, strip.height] = [width, height];
  let first = 0;
  facts.bands.forEach((band, index) => {
    canvas.fillStyle = getComputedStyle(view.scroller.children[index]).borderLeftColor;
    canvas.globalAlpha = 0.18;
    canvas.fillRect(0, (first / facts.length) * height, width, (band.tokens / facts.length) * height);
    first += band.tokens;
  });
  const style = getComputedStyle(strip);
  const lit = litFeatures(view);
  lit.forEach((feature, lane) => {
    strip.style.color = `var(--line-${slotOf(view, feature)})`;
    canvas.fillStyle = style.color; // A canvas knows no custom properties.
    const thick = Math.max(height / facts.length, 2 * scale);
    strongestByRow(facts, feature, maximumOf(facts, feature, view.basis).maximum, height).forEach((share, row) => {
      canvas.globalAlpha = 0.2 + 0.8 * share;
      canvas.clearRect((lane / lit.length) * width, row, width / lit.length, thick);
      canvas.fillRect((lane / lit.length) * width, row, width / lit.length, thick);
    });
  });
  strip.style.color = "var(--hit)";
  canvas.fillStyle = style.color;
  canvas.globalAlpha = 1;
  for (const [first] of view.hits) canvas.fillRect(0.6 * width, Math.floor((first / facts.length) * height), width, 2 * scale);
}

// A row of pixels stands for many tokens: it shows the largest share among them.
/** @param {Facts} facts @param {number} feature @param {number} maximum @param {number} height */
function strongestByRow(facts, feature, maximum, height) {
  const { positions, activations } = trackOf(facts, feature);
  const rows = new Map();
  for (let index = 0; index < positions.length; index++) {
    const row = Math.floor((positions[index] / facts.length) * height);
    const share = maximum ? Math.min(activations[index] / maximum, 1) : 0;
    rows.set(row, Math.max(rows.get(row) ?? 0, share));
  }
  return rows;
}
