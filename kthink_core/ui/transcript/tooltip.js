// One tooltip for all tokens. It follows the pointer or the keyboard's token; a click holds it, so that its features can
// be pointed at and locked.

/** @param {View} view @param {number} position */
function explain(view, position) {
  view.explained = position;
  const { facts, tooltip } = view;
  const token = view.tokens[position];
  refill(view, tooltip, factRows(facts, position), ...alternativeRows(view, position), firingRows(view, position));
  tooltip.classList.add("open");
  tooltip.classList.toggle("held", view.held !== null);
  place(view, token);
  const here = new Set(featuresAt(facts, position).map(({ feature }) => feature));
  for (const row of view.rows) row.classList.toggle("here", here.has(row.feature));
}

/** @param {View} view */
function hideTooltip(view) {
  view.held = view.explained = null;
  if (view.tooltip.contains(view.shadow.activeElement)) view.scroller.focus({ preventScroll: true });
  view.tooltip.classList.remove("open", "held");
  for (const row of view.rows) row.classList.remove("here");
}

// Where it was, with what is known now: the pointer may rest on a token while others are still coming.
/** @param {View} view */
function restTooltip(view) {
  if (view.explained !== null && view.tokens[view.explained]) explain(view, view.explained);
  else hideTooltip(view);
}

/** @param {Facts} facts @param {number} position */
function factRows(facts, position) {
  const probability = facts.probabilities[position];
  const list = element("dl", "facts");
  const entropy = entropyAt(facts, position);
  const undecided = Number.isNaN(entropy) ? [] : [["entropy", `${numeral(entropy, 2)} nats`]];
  for (const [name, value] of [
    ["token", toldAs(facts.texts, facts.written, position)],
    ["id", facts.ids[position]],
    ["position", position],
    ["probability", Number.isNaN(probability) ? "given, not sampled" : percent(probability)],
    ...undecided,
  ]) {
    list.append(element("dt", "name", name), element("dd", "value", value));
  }
  return list;
}

// What fires here, strongest first: of the lit features all, of the others those that were sent.
/** @param {View} view @param {number} position */
function firing(view, position) {
  const { facts } = view;
  const found = featuresAt(facts, position);
  for (const feature of litFeatures(view)) {
    if (found.some((other) => other.feature === feature)) continue;
    const { positions, activations } = trackOf(facts, feature);
    const index = positions.indexOf(position);
    if (index >= 0) found.push({ feature, activation: activations[index] });
  }
  return found.sort((one, other) => other.activation - one.activation);
}

/** @param {View} view @param {number} position */
function firingRows(view, position) {
  const rows = element("div", "firing");
  const found = firing(view, position);
  if (!found.length) rows.append(element("div", "none", `no feature of ${view.facts.hookpoint} fires here`));
  for (const { feature, activation } of found) {
    const row = featureButton(view, feature);
    row.append(element("span", "value", numeral(activation, 3)));
    rows.append(row);
  }
  return rows;
}

/** @param {View} view @param {number} position */
function spoken(view, position) {
  const { facts } = view;
  const strongest = firing(view, position)
    .slice(0, 3)
    .map(({ feature, activation }) => `feature ${called(facts, feature)} ${numeral(activation, 2)}`);
  return `position ${position}, ${toldAs(facts.texts, facts.written, position)}: ${strongest.join(", ") || "no feature"}`;
}

// Pixels: of the page's navigation, under which nothing is seen, and that a tooltip has at least.
const HEADER = 60;
const LOWEST = 160;

/** @param {View} view @param {TokenElement} token */
function place(view, token) {
  const { root, tooltip } = view;
  // A token that wraps has several boxes: the first one is where it begins.
  const box = token.getClientRects()[0];
  if (!box) return;
  const frame = root.getBoundingClientRect();
  const left = Math.min(box.left - frame.left, frame.width - tooltip.offsetWidth);
  tooltip.style.left = `${Math.max(left, 0)}px`;
  tooltip.style.maxHeight = "";
  const [above, below] = [box.top - HEADER - 12, window.innerHeight - box.bottom - 12];
  const under = tooltip.offsetHeight <= below || below >= above;
  tooltip.style.maxHeight = `${Math.max(under ? below : above, LOWEST)}px`;
  tooltip.style.top = `${under ? box.bottom - frame.top + 6 : box.top - frame.top - tooltip.offsetHeight - 6}px`;
}

/** @param {number} share */
function percent(share) {
  return `${numeral(100 * share, 1)} %`;
}
