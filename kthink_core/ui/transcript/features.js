// The list beside the tokens: pointing at a feature lights all its tokens, a click locks it, + shows it beside others.
// It is one stop of the Tab key: arrows go through the features and the buttons of one.

const BUTTONS = "button:enabled";

/** @param {View} view */
function newList(view) {
  const list = element("ul", "list");
  list.setAttribute("aria-label", "Features. Arrow keys go from one to another");
  rove(list, BUTTONS);
  list.addEventListener("focusin", (event) => {
    const button = hit(event, "button:focus-visible");
    if (button) pointAt(view, Number(button.dataset.feature));
  });
  list.addEventListener("focusout", () => pointAt(view, null));
  return list;
}

/** @param {View} view @param {number} feature */
function featureButton(view, feature) {
  const button = element("button", "feature");
  button.type = "button";
  button.dataset.feature = String(feature);
  button.setAttribute("aria-pressed", String(view.lock === feature));
  const slot = slotOf(view, feature);
  const chip = slot === SIXTH ? element("span", "chip loose") : element("span", "chip", slot + 1);
  if (slot !== SIXTH || view.lock === feature) {
    chip.style.setProperty("--chip", `var(--line-${slot})`);
    chip.style.setProperty("--ink", `var(--ink-${slot})`);
  }
  const { labels, lines } = view.facts;
  button.append(chip, element("span", feature < 0 ? "measure" : "number", MEASURES[feature]?.name ?? feature));
  const name = nameOf(view.facts, feature);
  if (name) {
    button.append(element("span", labels[feature] ? "label" : "label line", name));
    button.title = labels[feature] ? name : `Top tokens: ${lines[feature]}`;
  }
  return button;
}

// Its label, else its top tokens; empty where it has neither.
/** @param {Facts} facts @param {number} feature */
function nameOf({ labels, lines }, feature) {
  return labels[feature] || lines[feature] || "";
}

/** @param {Facts} facts @param {number} feature */
function called(facts, feature) {
  const name = nameOf(facts, feature);
  return name ? `${feature} · ${name}` : String(feature);
}

// What stands out in the marked span, once it is known.
/** @param {View} view */
function standingIn(view) {
  const { standing } = view.facts;
  return standing && view.span && same(standing.span, view.span) ? standing : null;
}

/** @param {View} view */
function listFeatures(view) {
  const { facts, list } = view;
  const standing = standingIn(view);
  const ranked = (standing?.rows ?? facts.ranked).map((row) => row.feature);
  const known = new Set(ranked);
  const lit = view.lock === null || view.lock < 0 ? view.features : [...view.features, view.lock];
  const extra = lit.filter((feature) => !known.has(feature));
  const rows = new Map((standing?.rows ?? []).map((row) => [row.feature, row]));
  view.rows = [...new Set([...extra, ...ranked])].map((feature) => featureRow(view, feature, standing && rows.get(feature)));
  const measures = standing ? [] : Object.keys(MEASURES).map((measure) => measureRow(view, Number(measure)));
  refill(view, list, ...measures, ...view.rows);
  if (standing && !ranked.length) list.append(element("li", "none", "Nothing fires more than once in the span."));
  keepOneStop(list, BUTTONS);
  list.classList.toggle("of-span", standing !== null);
  if (view.listed !== standing) list.scrollTop = 0;
  view.listed = standing;
}

// `standing` says how a feature stands out in the span; null where the list is that of the trace.
/** @param {View} view @param {number} feature @param {Standing | null | undefined} standing */
function featureRow(view, feature, standing) {
  const { facts } = view;
  const row = Object.assign(element("li", "row"), { feature });
  const ranked = facts.ranks.get(feature);
  const maximum = ranked?.maximum ?? traceMaximum(facts, feature);
  const part = standing === null ? maximum / (facts.ranked[0] ? largest(facts) : maximum || 1) : partOf(facts, standing);
  row.style.setProperty("--part", String(part));
  const lock = featureButton(view, feature);
  if (standing === null) {
    const share = percent(ranked?.share ?? shareOf(facts, feature));
    lock.append(element("span", "value", numeral(maximum, 2)), element("span", "share", share));
  } else tellStanding(view, lock, standing);
  const isShown = view.features.includes(feature);
  const show = signButton("show", isShown ? "−" : "+", `${isShown ? "Hide" : "Show beside others"}: feature ${called(facts, feature)}`);
  show.dataset.kind = "show";
  show.dataset.feature = String(feature);
  show.setAttribute("aria-pressed", String(isShown));
  show.disabled = !isShown && view.features.length >= facts.most;
  if (show.disabled) show.title = `${facts.most} features are shown; hide one first`;
  const open = signButton("open", "↗", `Open feature ${called(facts, feature)}`);
  open.dataset.kind = "open";
  open.dataset.feature = String(feature);
  for (const button of [lock, show, open]) button.tabIndex = -1;
  row.append(lock, show, open);
  return row;
}

/** @param {View} view @param {HTMLButtonElement} button @param {Standing | undefined} standing */
function tellStanding(view, button, standing) {
  const { facts, span } = view;
  if (!standing || !span) {
    button.append(element("span", "value", "–"));
    button.title = "Does not stand out in the span";
    return;
  }
  const { feature, positions, lift, low } = standing;
  const line = facts.lines[feature];
  const cells = { count: positions, value: `${brief(lift)}×`, share: `${brief(low)}×` };
  for (const [name, value] of Object.entries(cells)) button.append(element("span", name, value));
  button.title = toldStanding(standing, span[1] - span[0] + 1) + (line ? `\nTop tokens: ${line}` : "");
}

/** @param {Standing} standing @param {number} size of the span */
function toldStanding({ positions, lift, low, high }, size) {
  return (
    `Fires at ${positions} of the span's ${size} positions: ${brief(lift)} times as often as in the rest ` +
    `(95 %: ${brief(low)} to ${brief(high)})`
  );
}

// How long the line under a feature is: by what the list is ordered by.
/** @param {Facts} facts @param {Standing | undefined} row */
function partOf({ standing }, row) {
  return row && standing ? row.low / standing.rows[0].low : 0;
}

// Three digits say enough.
/** @param {number} number */
function brief(number) {
  return number >= 100 ? Math.round(number).toLocaleString("en") : Number(number.toPrecision(2)).toString();
}

/** @param {Facts} facts */
function largest(facts) {
  return facts.ranked.reduce((most, row) => Math.max(most, row.maximum), 0) || 1;
}

/** @param {View} view @param {number | null} feature */
function pointAt(view, feature) {
  if (view.pointed === feature) return;
  view.pointed = feature;
  shade(view);
  fillHeading(view);
  dimLegend(view);
}

// Above the list, on a line of its own whatever it says: nothing may move under the pointer.
/** @param {View} view */
function fillHeading(view) {
  const { facts, pointed } = view;
  const standing = standingIn(view);
  let name = standing ? `Span ${standing.span.join(" to ")}` : `Features of ${facts.hookpoint}`;
  if (pointed !== null) {
    const { maximum, basis } = maximumOf(facts, pointed, view.basis);
    name = `${titleOf(facts, pointed)} ÷ ${numeral(maximum, 2)}, ${facts.bases[basis]}`;
  }
  const titles = standing ? { count: "n", value: "lift", share: "at least" } : { value: "max", share: "share" };
  const columns = Object.entries(titles).map(([column, title]) => element("span", column, title));
  view.heading.replaceChildren(element("span", "name", name), ...columns);
}

// All that is chosen, whichever has just changed: where two messages come before a run begins, Streamlit keeps the last.
/** @param {View} view @param {number | null} feature to be opened @param {number[]} branch to go on from */
function tell(view, feature = null, branch = []) {
  const { span, features, basis, lock, grain, sought } = view;
  const locked = lock !== null && lock < 0 ? null : lock;
  clearTimeout(view.telling);
  view.send("chosen", { span, features, basis, locked, shade: shadeOf(lock), grain, sought, feature, branch });
}

// Seen at once, and told to the page for its link.
/** @param {View} view @param {number | null} feature */
function lockFeature(view, feature) {
  view.lock = feature;
  tell(view);
  view.pointed = null;
  listFeatures(view);
  shade(view);
  fillToolbar(view);
  if (view.held !== null) explain(view, view.held);
  const fires = feature !== null && feature < 0 ? "is large" : "fires";
  say(view, feature === null ? "Unlocked" : `${titleOf(view.facts, feature)} is locked: N and P go to where it ${fires}`);
}

// Seen at once, and told to the page, which sends back what it needs.
/** @param {View} view @param {number[]} features */
function showFeatures(view, features) {
  view.features = features;
  listFeatures(view);
  shade(view);
  fillToolbar(view);
  tell(view);
}

/** @param {View} view @param {HTMLElement} button */
function clickFeature(view, button) {
  const feature = Number(button.dataset.feature);
  const { features } = view;
  if (button.classList.contains("open")) tell(view, feature);
  else if (button.classList.contains("show")) {
    showFeatures(view, features.includes(feature) ? features.filter((f) => f !== feature) : [...features, feature]);
  } else lockFeature(view, view.lock === feature ? null : feature);
}
