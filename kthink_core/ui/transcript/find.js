// Find in the trace: a text, over the borders of tokens; a token's id; where a feature fires.

const PAUSE = 500; // Milliseconds after the last key before the page is told of a feature that is sought.
const EXAMPLES = "text, #token id or feature:number";

/** @param {string} typed @returns {Sought | null} */
function readSought(typed) {
  const id = /^\s*(?:#|id:)\s*(\d{1,9})\s*$/i.exec(typed);
  if (id) return { kind: "id", number: Number(id[1]), text: "" };
  const feature = /^\s*(?:f|feature):\s*(\d{1,9})(?!\d)/i.exec(typed);
  if (feature) return { kind: "feature", number: Number(feature[1]), text: "" };
  const quoted = /^"(.+)"$/s.exec(typed);
  const text = quoted ? quoted[1] : typed;
  return text ? { kind: "text", number: 0, text } : null;
}

/** @param {Facts} facts @param {Sought} sought @returns {Span[]} */
function hitsOf(facts, { kind, number, text }) {
  if (kind === "text") return textHits(facts, text);
  /** @type {Span[]} */
  const found = [];
  if (kind === "id") {
    for (let position = 0; position < facts.length; position++) if (facts.ids[position] === number) found.push([position, position]);
  } else {
    for (const position of trackOf(facts, number).positions) if (position < facts.length) found.push([position, position]);
  }
  return found;
}

// Whether what is sought is a feature that the SAE does not have.
/** @param {Facts} facts @param {Sought | null} sought @returns {boolean} */
function isBeyond({ last }, sought) {
  return sought?.kind === "feature" && last !== null && sought.number > last;
}

// In whatever letters; any white space stands for any other.
/** @param {Facts} facts @param {string} text @returns {Span[]} */
function textHits(facts, text) {
  facts.joined ??= joined(facts.texts);
  const { whole, ends } = facts.joined;
  const escaped = text.split(/\s+/).map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  /** @type {Span[]} */
  const found = [];
  let token = 0;
  for (const { 0: match, index } of whole.matchAll(new RegExp(escaped.join("\\s+"), "giu"))) {
    while (ends[token] <= index) token++;
    const first = token;
    while (ends[token] < index + match.length) token++;
    found.push([first, token]);
  }
  return found;
}

// The text of the trace, and where in it each token ends.
/** @param {string[]} texts */
function joined(texts) {
  let end = 0;
  const parts = wholeTexts(texts, "");
  return { whole: parts.join(""), ends: parts.map((part) => (end += part.length)) };
}

/** @param {View} view */
function newFinder(view) {
  const finder = element("div", "finder");
  finder.setAttribute("role", "search");
  view.finder = element("input", "sought");
  view.finder.type = "search";
  view.finder.placeholder = `Find: ${EXAMPLES}`;
  view.finder.setAttribute("aria-label", `Find in the trace: ${EXAMPLES}`);
  view.finder.spellcheck = false;
  view.found = element("span", "found");
  view.picker = element("datalist", "picker");
  view.picker.id = "features";
  const buttons = [
    signButton("to-hit", "↑", "Previous place (Shift+Enter)"),
    signButton("to-hit", "↓", "Next place (Enter)"),
  ];
  buttons.forEach((button, index) => button.addEventListener("click", () => nextHit(view, index ? 1 : -1)));
  view.finder.addEventListener("input", () => {
    // Beside a text that is typed, a list of features would only be in the way.
    if (/^\s*f\w*:/i.test(view.finder.value)) view.finder.setAttribute("list", view.picker.id);
    else view.finder.removeAttribute("list");
    find(view, true);
  });
  view.finder.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") nextHit(view, event.shiftKey ? -1 : 1);
    if (event.key === "Escape") {
      if (!view.finder.value) view.scroller.focus({ preventScroll: true });
      view.finder.value = "";
      find(view, false);
    }
    if (event.key === "Enter" || event.key === "Escape") event.preventDefault();
    event.stopPropagation(); // The transcript's and the page's own keys are letters.
  });
  finder.append(view.finder, view.picker, view.found, ...buttons);
  return finder;
}

// Marks what is sought, as it is typed or as the trace grows.
/** @param {View} view @param {boolean} goes to the first place from where one is on */
function find(view, goes) {
  const sought = readSought(view.finder.value);
  view.hits = sought ? hitsOf(view.facts, sought) : [];
  view.sought = sought?.kind === "feature" && !isBeyond(view.facts, sought) ? sought.number : null;
  clearTimeout(view.telling);
  if (view.sought !== view.facts.sought) view.telling = setTimeout(() => tell(view), PAUSE);
  markHits(view);
  view.hit = null;
  const from = view.focus ?? 0;
  const at = view.hits.findIndex(([first]) => first >= from);
  if (goes && view.hits.length) goToHit(view, Math.max(at, 0));
  else tellHits(view);
}

/** @param {View} view */
function markHits(view) {
  if (!view.sighted.length && !view.hits.length) return;
  for (const token of view.sighted) token.classList.remove("hit", "now");
  view.sighted = [];
  for (const [first, last] of view.hits) for (let at = first; at <= last; at++) view.sighted.push(view.tokens[at]);
  for (const token of view.sighted) token.classList.add("hit");
  drawStrip(view);
}

/** @param {View} view @param {1 | -1} direction */
function nextHit(view, direction) {
  const { hits, hit: now } = view;
  if (!hits.length) return tellHits(view);
  if (now !== null) return goToHit(view, (now + direction + hits.length) % hits.length);
  const from = view.focus ?? (direction > 0 ? -1 : Infinity);
  const at = direction > 0 ? hits.findIndex(([first]) => first > from) : hits.findLastIndex(([first]) => first < from);
  goToHit(view, at < 0 ? (direction > 0 ? 0 : hits.length - 1) : at);
}

/** @param {View} view @param {number} index */
function goToHit(view, index) {
  const [first, last] = view.hits[index];
  for (const token of view.sighted) token.classList.remove("now");
  view.hit = index;
  hideTooltip(view);
  setFocus(view, first);
  for (const token of view.tokens.slice(first, last + 1)) token.classList.add("now");
  goTo(view, first);
  tellHits(view);
}

/** @param {View} view */
function tellHits(view) {
  const { facts, hits, hit: now, finder, found } = view;
  const sought = readSought(finder.value);
  const beyond = isBeyond(facts, sought);
  found.title = !beyond && isPart(facts, sought) ? "Only where the feature is among the first of a token: the others are being asked for" : "";
  found.textContent = foundText(facts, sought, hits.length, now);
  if (sought && view.shadow.activeElement === finder) say(view, beyond ? found.textContent : `${found.textContent} found`);
}

// What stands beside what is sought.
/** @param {Facts} facts @param {Sought | null} sought @param {number} hits @param {number | null} now @returns {string} */
function foundText(facts, sought, hits, now) {
  if (!sought) return "";
  if (isBeyond(facts, sought)) return `This SAE has features 0 to ${facts.last}`;
  const more = isPart(facts, sought);
  if (!hits) return more ? "none yet" : "none";
  const count = `${hits.toLocaleString("en")}${more ? " or more" : ""}`;
  return now === null ? count : `${now + 1} of ${count}`;
}

// Whether it is a feature of which not all firings are here.
/** @param {Facts} facts @param {Sought | null} sought @returns {boolean} */
function isPart(facts, sought) {
  return sought?.kind === "feature" && !trackOf(facts, sought.number).whole;
}

// What the page says is sought: a link brought it, or it was taken back.
/** @param {View} view @param {Facts | null} before */
function takeSought(view, before) {
  const { sought } = view.facts;
  if ((before?.sought ?? null) !== sought && sought !== view.sought) {
    view.finder.value = sought === null ? "" : `feature:${sought}`;
  }
  view.picker.replaceChildren(
    ...view.facts.ranked.map(({ feature }) => {
      const option = element("option", "");
      option.value = `feature:${feature}`;
      option.label = nameOf(view.facts, feature);
      return option;
    }),
  );
  const now = view.hit === null ? undefined : view.hits[view.hit];
  find(view, false);
  const again = now && view.hits.findIndex(([first, last]) => first === now[0] && last === now[1]);
  if (again === undefined || again < 0 || !now) return;
  view.hit = again;
  for (const token of view.tokens.slice(now[0], now[1] + 1)) token.classList.add("now");
  tellHits(view);
}
