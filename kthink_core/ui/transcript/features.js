// The list beside the tokens: pointing at a feature lights all its tokens, a click locks it, + shows it beside others.
// It is one stop of the Tab key: arrows go through the features and the buttons of one.

const BUTTONS = "button:enabled";

function newList(view) {
  const list = element("ul", "list");
  list.setAttribute("aria-label", "Features. Arrow keys go from one to another");
  rove(list, BUTTONS);
  list.addEventListener("focusin", (event) => {
    if (event.target.matches(":focus-visible")) pointAt(view, Number(event.target.dataset.feature));
  });
  list.addEventListener("focusout", () => pointAt(view, null));
  return list;
}

function featureButton(view, feature) {
  const button = element("button", "feature");
  button.type = "button";
  button.dataset.feature = feature;
  button.setAttribute("aria-pressed", view.lock === feature);
  const slot = slotOf(view, feature);
  const chip = slot === SIXTH ? element("span", "chip loose") : element("span", "chip", slot + 1);
  if (slot !== SIXTH || view.lock === feature) {
    chip.style.setProperty("--chip", `var(--line-${slot})`);
    chip.style.setProperty("--ink", `var(--ink-${slot})`);
  }
  button.append(chip, element("span", "number", feature));
  const label = view.facts.labels[feature];
  if (label) {
    button.append(element("span", "label", label));
    button.title = label;
  }
  return button;
}

function listFeatures(view) {
  const { facts, list } = view;
  const ranked = facts.ranked.map((row) => row.feature);
  const extra = [...view.features, view.lock].filter((feature) => feature !== null && !facts.ranks.has(feature));
  view.rows = [...new Set([...extra, ...ranked])].map((feature) => featureRow(view, feature));
  refill(view, list, ...view.rows);
  keepOneStop(list, BUTTONS);
}

function featureRow(view, feature) {
  const { facts } = view;
  const row = element("li", "row");
  row.feature = feature;
  const ranked = facts.ranks.get(feature);
  const maximum = ranked?.maximum ?? traceMaximum(facts, feature);
  row.style.setProperty("--part", maximum / (facts.ranked[0] ? largest(facts) : maximum || 1));
  const lock = featureButton(view, feature);
  lock.append(element("span", "value", maximum.toFixed(2)), element("span", "share", percent(ranked?.share ?? shareOf(facts, feature))));
  const isShown = view.features.includes(feature);
  const show = signButton("show", isShown ? "−" : "+", `${isShown ? "Hide" : "Show beside others"}: feature ${feature}`);
  show.dataset.kind = "show";
  show.dataset.feature = feature;
  show.setAttribute("aria-pressed", isShown);
  show.disabled = !isShown && view.features.length >= facts.most;
  if (show.disabled) show.title = `${facts.most} features are shown; hide one first`;
  const open = signButton("open", "↗", `Open feature ${feature}`);
  open.dataset.kind = "open";
  open.dataset.feature = feature;
  for (const button of [lock, show, open]) button.tabIndex = -1;
  row.append(lock, show, open);
  return row;
}

function largest(facts) {
  return facts.ranked.reduce((most, row) => Math.max(most, row.maximum), 0) || 1;
}

function pointAt(view, feature) {
  if (view.pointed === feature) return;
  view.pointed = feature;
  shade(view);
  fillHeading(view);
  dimLegend(view);
}

// Above the list, on a line of its own whatever it says: nothing may move under the pointer.
function fillHeading(view) {
  const { facts, pointed } = view;
  let name = `Features of ${facts.hookpoint}`;
  if (pointed !== null) {
    const { maximum, basis } = maximumOf(facts, pointed, view.basis);
    name = `Feature ${pointed} ÷ ${maximum.toFixed(2)}, ${BASES[basis]}`;
  }
  view.heading.replaceChildren(
    element("span", "name", name),
    element("span", "value", "max"),
    element("span", "share", "share"),
  );
}

function lockFeature(view, feature) {
  view.lock = feature;
  view.pointed = null;
  listFeatures(view);
  shade(view);
  fillToolbar(view);
  if (view.held !== null) explain(view, view.held);
  say(view, feature === null ? "Unlocked" : `Feature ${feature} is locked: N and P go to where it fires`);
}

// Seen at once, and told to the page, which sends back what it needs.
function showFeatures(view, features) {
  view.features = features;
  listFeatures(view);
  shade(view);
  fillToolbar(view);
  view.send("features", features);
}

function clickFeature(view, button) {
  const feature = Number(button.dataset.feature);
  const { features } = view;
  if (button.classList.contains("open")) view.send("feature", feature);
  else if (button.classList.contains("show")) {
    showFeatures(view, features.includes(feature) ? features.filter((f) => f !== feature) : [...features, feature]);
  } else lockFeature(view, view.lock === feature ? null : feature);
}
