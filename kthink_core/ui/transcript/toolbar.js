// Above the tokens: what is lit, what its activations are divided by, the span, and the help.

/** @param {View} view */
function newToolbar(view) {
  const toolbar = element("div", "toolbar");
  const basis = element("div", "basis");
  basis.setAttribute("role", "radiogroup");
  basis.setAttribute("aria-label", "Opacity: activation divided by the maximum of");
  basis.append(element("span", "ask", "activation ÷ max of"));
  for (const name of ["trace", "experiment"]) {
    const button = element("button", "choice");
    button.type = "button";
    button.dataset.basis = name;
    button.setAttribute("role", "radio");
    basis.append(button);
  }
  const help = signButton("ask-help", "?", "Keys and what the colours mean");
  view.legend = element("div", "legend");
  view.spanChip = signButton("span-chip", "", "Clear the span");
  toolbar.append(view.legend, view.spanChip, basis, help);
  toolbar.addEventListener("click", (event) => {
    const chosen = hit(event, ".choice")?.dataset.basis;
    if (chosen) setBasis(view, /** @type {Basis} */ (chosen));
    if (hit(event, ".span-chip")) clearSpan(view);
    if (hit(event, ".ask-help")) toggleHelp(view);
  });
  basis.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    setBasis(view, view.basis === "trace" ? "experiment" : "trace");
    /** @type {HTMLElement} */ (toolbar.querySelector(".choice[aria-checked=true]")).focus();
  });
  return toolbar;
}

// Below it: what the transcript is cut into, and what is looked for in it.
/** @param {View} view */
function newTools(view) {
  const tools = element("div", "tools");
  const label = element("label", "grain", "Steps ");
  view.grainChoice = element("select", "");
  view.grainChoice.addEventListener("change", () => cutInto(view, view.grainChoice.value));
  view.grainChoice.addEventListener("keydown", (event) => event.stopPropagation());
  label.append(view.grainChoice);
  tools.append(label, newFinder(view));
  return tools;
}

/** @param {View} view */
function fillTools(view) {
  const { grainChoice, facts } = view;
  const label = /** @type {HTMLElement} */ (grainChoice.parentElement);
  label.hidden = facts.grains.length < 2;
  if (!same(Array.from(grainChoice.options, (option) => option.value), facts.grains)) {
    grainChoice.replaceChildren(
      ...facts.grains.map((grain) => {
        const option = element("option", "", GRAINS[grain].name);
        option.value = grain;
        option.title = GRAINS[grain].title;
        return option;
      }),
    );
  }
  grainChoice.value = view.grain;
  label.title = GRAINS[view.grain].title;
}

/** @param {View} view @param {Basis} basis */
function setBasis(view, basis) {
  view.basis = basis;
  shade(view);
  fillToolbar(view);
  tell(view);
}

/** @param {View} view */
function fillToolbar(view) {
  for (const choice of /** @type {NodeListOf<HTMLElement>} */ (view.root.querySelectorAll(".choice"))) {
    const isChosen = choice.dataset.basis === view.basis;
    choice.textContent = view.facts.bases[/** @type {Basis} */ (choice.dataset.basis)];
    choice.setAttribute("aria-checked", String(isChosen));
    choice.tabIndex = isChosen ? 0 : -1;
  }
  const named = new Set(view.lock === null ? view.features : [...view.features, view.lock]);
  refill(view, view.legend, ...Array.from(named, (feature) => legendEntry(view, feature)));
  dimLegend(view);
  if (!named.size) view.legend.append(element("span", "none", "No feature is shown: point at one in the list."));
  nameSpan(view);
}

/** @param {View} view */
function nameSpan(view) {
  const { span, spanChip, begun } = view;
  spanChip.hidden = span === null;
  if (begun !== null) spanChip.textContent = `span from ${begun}: tap its last token ×`;
  else if (span) spanChip.textContent = `span ${span[0]} to ${span[1]} · ${span[1] - span[0] + 1} tokens ×`;
}

/** @param {View} view */
function dimLegend(view) {
  const lit = litFeatures(view);
  for (const entry of /** @type {Iterable<FeatureElement>} */ (view.legend.children)) entry.classList.toggle("unlit", !lit.includes(entry.feature));
}

/** @param {View} view @param {number} feature */
function legendEntry(view, feature) {
  const { facts } = view;
  const entry = Object.assign(element("span", "entry"), { feature });
  const { maximum, basis } = maximumOf(facts, feature, view.basis);
  const track = trackOf(facts, feature);
  entry.append(featureButton(view, feature));
  if (view.lock === feature) entry.append(element("span", "locked", "locked"));
  if (!traceMaximum(facts, feature)) {
    const never = feature < 0 ? "is 0, or not known," : "never fires";
    const elsewhere = track.positions.length ? "; underlined where it fires outside" : "";
    entry.append(element("span", "text", `${never} in scope ${facts.scope} of this inference${elsewhere}`));
  } else {
    const instead = basis === view.basis || feature < 0 ? "" : ` of ${facts.bases[basis]}: that of the experiment is not at hand`;
    entry.append(element("span", "text", `÷ ${numeral(maximum, 2)}${instead}`));
  }
  if (!track.whole) entry.append(element("span", "text", "· only where it is among the first of a token"));
  if (view.features.includes(feature)) {
    const hide = signButton("show hide", "×", `Hide feature ${called(facts, feature)}`);
    hide.dataset.feature = String(feature);
    hide.dataset.kind = "hide";
    entry.append(hide);
  }
  return entry;
}

/** @param {View} view @param {string} text */
function say(view, text) {
  view.announcer.textContent = text;
}
