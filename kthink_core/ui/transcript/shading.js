// The colours of the tokens. Behind a token lies the shade of the feature with the largest share of its maximum; an
// underline, cut into as many pieces as features fire, names them all. Out of scope there is the underline only.

const SIXTH = 5; // The hue of a feature that is looked at alone and is none of those shown.

// What is lit: the feature under the pointer, else the locked one, else those that are shown.
/** @param {View} view */
function litFeatures(view) {
  const alone = view.pointed ?? view.lock;
  return alone === null ? view.features : [alone];
}

/** @param {View} view @param {number} feature */
function slotOf(view, feature) {
  const slot = view.features.indexOf(feature);
  return slot < 0 ? SIXTH : slot;
}

/** @param {View} view */
function shade(view) {
  for (const token of view.painted) {
    token.classList.remove("fires");
    token.removeAttribute("style");
  }
  view.painted = [];
  /** @type {Map<number, Lit[]>} */
  const fires = new Map();
  for (const feature of litFeatures(view)) collect(view, feature, fires);
  for (const [position, firing] of fires) {
    const token = view.tokens[position];
    firing.sort((one, other) => other.share - one.share || one.slot - other.slot);
    const [{ slot, share }] = firing;
    token.classList.add("fires");
    token.style.setProperty("--share", share.toFixed(3));
    token.style.setProperty("--shade", `var(--shade-${slot})`);
    token.style.setProperty("--line", underline(firing));
    view.painted.push(token);
  }
  drawStrip(view);
}

/** @param {View} view @param {number} feature @param {Map<number, Lit[]>} fires */
function collect(view, feature, fires) {
  const { facts } = view;
  const { positions, activations } = trackOf(facts, feature);
  const { maximum } = maximumOf(facts, feature, view.basis);
  const slot = slotOf(view, feature);
  for (let index = 0; index < positions.length; index++) {
    const position = positions[index];
    if (position >= facts.length || !(activations[index] > 0)) continue;
    const share = facts.counted[position] && maximum ? Math.min(activations[index] / maximum, 1) : 0;
    const there = fires.get(position) ?? [];
    fires.set(position, there);
    there.push({ slot, share });
  }
}

/** @param {Lit[]} firing */
function underline(firing) {
  const stops = firing.map(({ slot }, index) => {
    const [from, to] = [index, index + 1].map((end) => `${((100 * end) / firing.length).toFixed(1)}%`);
    return `var(--line-${slot}) ${from} ${to}`;
  });
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}
