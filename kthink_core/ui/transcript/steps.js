// The steps that a transcript is cut into: each can be collapsed to a line, and opens where somebody wants to go.

/** @type {Record<string, { name: string, title: string }>} */
const GRAINS = {
  none: { name: "none", title: "The text as it is" },
  sentence: { name: "sentences", title: "A step is a sentence" },
  paragraph: { name: "paragraphs", title: "A step ends at an empty line" },
  turn: { name: "turns", title: "A step begins with a sentence that begins with Wait, Hmm, But, Maybe, Let me, Okay, …" },
};
const FIRST_WORDS = 120; // Characters of a step: more than there is ever room for.

/** @param {NonNullable<Sent["outline"]>} packed @returns {Outline} */
function readOutline({ firsts, counts, features, positions, lifts, lows, highs }) {
  const begin = unpack(firsts);
  return {
    firsts: begin,
    index: new Map(Array.from(begin, (first, step) => [first, step])),
    starts: startsOf(counts),
    features: unpack(features),
    positions: unpack(positions),
    lifts: unpack(lifts),
    lows: unpack(lows),
    highs: unpack(highs),
  };
}

// What the transcript is cut into; null where it is not.
/** @param {View} view */
function outlineOf({ facts, grain }) {
  return grain === "none" ? null : facts.outline;
}

/** @param {Outline} outline @param {number} position */
function stepAt({ firsts }, position) {
  let [low, high] = [0, firsts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (firsts[middle] <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** @param {Facts} facts @param {Outline} outline @param {number} step @returns {Span} */
function extentOf(facts, { firsts }, step) {
  return [firsts[step], step + 1 < firsts.length ? firsts[step + 1] - 1 : facts.length - 1];
}

// What stands out in a step, as the marked span would show it.
/** @param {Outline} outline @param {number} step @returns {Standing[]} */
function standingOut(outline, step) {
  const found = [];
  for (let at = outline.starts[step]; at < outline.starts[step + 1]; at++) {
    const [feature, positions] = [outline.features[at], outline.positions[at]];
    found.push({ feature, positions, lift: outline.lifts[at], low: outline.lows[at], high: outline.highs[at] });
  }
  return found;
}

// How many tokens from the first are cut as they were.
/** @param {Outline | null} before @param {Outline | null} now */
function cutAlike(before, now) {
  if (!before || !now) return before === now ? Infinity : 0;
  let step = 0;
  while (step < before.firsts.length && before.firsts[step] === now.firsts[step]) step++;
  return Math.min(before.firsts[step] ?? Infinity, now.firsts[step] ?? Infinity);
}

/** @param {Facts} facts @param {Span} extent */
function firstWords(facts, [first, last]) {
  let words = "";
  for (let position = first; position <= last && words.length < FIRST_WORDS; position++) {
    if (!SPECIAL.test(facts.written[position])) words += facts.written[position].replaceAll(PART, "");
  }
  const told = revealed(words.replace(/\s+/g, " ").trim());
  return told || oneLine(facts.written[first]);
}

/** @param {number} first */
function newStep(first) {
  const step = Object.assign(element("div", "step"), { first });
  const fold = signButton("fold", "", `Collapse the step from ${first}`);
  fold.tabIndex = -1; // There may be thousands: O does it, too, and the list of steps.
  fold.setAttribute("aria-expanded", "true");
  step.append(fold);
  return step;
}

/** @param {View} view @param {number} first */
function stepElement(view, first) {
  return /** @type {StepElement | null} */ (view.tokens[first]?.closest(".step") ?? null);
}

// What stays of a collapsed step: how it begins, how long it is, what stands out.
/** @param {View} view @param {Outline} outline @param {number} step */
function summaryOf(view, outline, step) {
  const { facts } = view;
  const extent = extentOf(facts, outline, step);
  const summary = element("button", "summary");
  summary.type = "button";
  summary.tabIndex = -1;
  summary.append(element("span", "words", firstWords(facts, extent)), element("span", "size", sizeOf(extent)), ...strongest(view, outline, step));
  return summary;
}

/** @param {Span} extent */
function sizeOf([first, last]) {
  return `${(last - first + 1).toLocaleString("en")} token${last > first ? "s" : ""}`;
}

/** @param {View} view @param {Outline} outline @param {number} step */
function strongest({ facts }, outline, step) {
  const [first, last] = extentOf(facts, outline, step);
  return standingOut(outline, step).map((standing) => {
    const { feature } = standing;
    const made = element("span", "strong");
    made.dataset.feature = String(feature);
    made.title = `Feature ${called(facts, feature)}\n${toldStanding(standing, last - first + 1)}`;
    made.append(element("span", "number", feature));
    const name = nameOf(facts, feature);
    if (name) made.append(element("span", facts.labels[feature] ? "label" : "label line", name));
    return made;
  });
}

/** @param {View} view @param {number} first @param {boolean} isFolded */
function setFolded(view, first, isFolded) {
  const outline = outlineOf(view);
  const step = stepElement(view, first);
  const number = outline?.index.get(first);
  if (!outline || !step || number === undefined) return;
  openStep(step);
  view.folded.delete(first);
  if (isFolded) {
    view.folded.add(first);
    step.classList.add("folded");
    step.firstElementChild?.after(summaryOf(view, outline, number));
    tellFold(step.firstElementChild, first, true);
  }
  tellFold(view.steps[number]?.lastElementChild, first, isFolded);
}

/** @param {Element | null | undefined} fold @param {number} first @param {boolean} isFolded */
function tellFold(fold, first, isFolded) {
  const label = `${isFolded ? "Open" : "Collapse"} the step from ${first}`;
  fold?.setAttribute("aria-expanded", String(!isFolded));
  fold?.setAttribute("aria-label", label);
  fold?.setAttribute("title", label);
}

// Opens all, whatever is known of them by now.
/** @param {View} view */
function openSteps(view) {
  for (const first of view.folded) {
    const step = stepElement(view, first);
    if (step) openStep(step);
  }
  view.folded.clear();
  view.root.classList.remove("all-folded");
  for (const row of view.steps) tellFold(row.lastElementChild, row.first, false);
}

/** @param {StepElement} step */
function openStep(step) {
  step.classList.remove("folded");
  step.querySelector(".summary")?.remove();
  tellFold(step.firstElementChild, step.first, false);
}

/** @param {View} view @param {boolean} isFolded */
function foldAll(view, isFolded) {
  if (!isFolded) openSteps(view);
  else for (const first of outlineOf(view)?.firsts ?? []) setFolded(view, first, true);
  view.root.classList.toggle("all-folded", isFolded);
  if (isFolded && view.focus !== null) stepElement(view, view.focus)?.scrollIntoView({ block: "nearest" });
  say(view, isFolded ? "All steps are collapsed" : "All steps are open");
}

// Opens the collapsed step that a position lies in.
/** @param {View} view @param {number} position */
function reveal(view, position) {
  const outline = outlineOf(view);
  if (!outline || !view.folded.size) return;
  const first = outline.firsts[stepAt(outline, position)];
  if (view.folded.has(first)) setFolded(view, first, false);
}

// Seen at once where it is known, and told to the page, which sends what is not.
/** @param {View} view @param {string} grain */
function cutInto(view, grain) {
  openSteps(view);
  view.grain = grain;
  if (grain === "none" || grain === view.facts.grain) layAnew(view);
  fillTools(view);
  tell(view);
}

// The same tokens, cut otherwise; what is read stays in sight.
/** @param {View} view */
function layAnew(view) {
  const read = positionRead(view);
  layTokens(view, view.facts);
  dress(view);
  listSteps(view);
  find(view, false);
  if (read !== null) goTo(view, read);
}
