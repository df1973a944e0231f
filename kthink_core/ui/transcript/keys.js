// The keyboard, while the focus is inside.

const KEYS = [
  ["← →", "previous, next token"],
  ["Home End", "first, last token"],
  ["Shift ← →", "mark a span"],
  ["N P", "next, previous place where the locked (or first) feature fires"],
  ["[ ]", "previous, next step"],
  ["O", "collapse or open the step"],
  ["/", "find a text, a token (#id) or a feature (feature:number); there Enter, Shift Enter: next, previous"],
  ["Enter", "hold the tooltip: its features can be clicked"],
  ["Tab ↑ ↓ ← →", "into the list of features; there from one to another"],
  ["J K", "next, previous inference"],
  ["Ctrl C", "copy the text of the span"],
  ["Esc", "close, unlock, clear the span: one after the other"],
  ["?", "this help"],
];
const POINTER = [
  ["hover a token", "its strongest features"],
  ["hover a feature", "all its tokens"],
  ["click a feature", "lock it"],
  ["+ −", "show several at once, five at most"],
  ["↗", "open the feature"],
  ["drag over tokens", "a span; click it to clear it"],
  ["touch", "press long on the first token of a span, tap its last one"],
];
const COLOURS =
  "Background: the feature with the largest share of its maximum; the fuller, the larger the share. " +
  "Underline: every shown feature that fires there, in scope or not. The numbers in the margin are positions. " +
  "▏: bytes of the character that follows, which takes several tokens.";

/** @param {View} view @param {KeyboardEvent} event */
function onKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  /** @type {Record<string, number>} */
  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  const { key } = event;
  if (key in steps) stepTo(view, steps[key], event.shiftKey);
  else if (key === "n" || key === "N") nextFiring(view, 1);
  else if (key === "p" || key === "P") nextFiring(view, -1);
  else if (key === "]") stepBeside(view, 1);
  else if (key === "[") stepBeside(view, -1);
  else if (key === "o" || key === "O") foldHere(view);
  else if (key === "/") view.finder.focus();
  else if (key === "?") toggleHelp(view);
  else if (key === "Enter" && view.shadow.activeElement === view.scroller && view.focus !== null) {
    clickToken(view, view.focus);
  } else if (key === "Escape") {
    if (!escape(view)) return;
  } else return;
  event.preventDefault();
}

/** @param {View} view @param {number} step @param {boolean} marks */
function stepTo(view, step, marks) {
  const { length } = view.facts;
  if (!length) return;
  const start = view.focus ?? (step > 0 ? -1 : length);
  const position = within(start + step, length);
  if (marks) {
    view.anchor ??= within(start, length);
    markSpan(view, ordered({ from: view.anchor, to: position }));
    view.unsent = true;
  } else view.anchor = null;
  moveTo(view, position);
}

/** @param {number} position @param {number} length */
function within(position, length) {
  return Math.min(Math.max(position, 0), length - 1);
}

// The span that Shift marked is told to the page once Shift is let go.
/** @param {View} view @param {KeyboardEvent} event */
function onKeyUp(view, event) {
  if (event.key !== "Shift" || !view.unsent) return;
  view.unsent = false;
  tell(view);
}

/** @param {View} view @param {1 | -1} direction */
function nextFiring(view, direction) {
  const feature = view.lock ?? view.features[0];
  if (feature === undefined) return;
  const found = firingBeside(view.facts, feature, view.focus, direction);
  if (found === undefined) say(view, `${titleOf(view.facts, feature)} ${feature < 0 ? "is large" : "fires"} nowhere ${direction > 0 ? "after" : "before"} this`);
  else moveTo(view, found);
}

// The next position at which a feature fires, from another or, where that is null, from the end of the trace.
/** @param {Facts} facts @param {number} feature @param {number | null} from @param {1 | -1} direction */
function firingBeside(facts, feature, from, direction) {
  const { positions: fires, activations } = trackOf(facts, feature);
  const positions = Array.from(fires).filter((_, at) => feature >= 0 || activations[at] >= LARGE);
  if (direction > 0) return positions.find((position) => from === null || position > from);
  return positions.findLast((position) => from === null || position < from);
}

/** @param {View} view @param {1 | -1} direction */
function stepBeside(view, direction) {
  const outline = outlineOf(view);
  if (!outline) return;
  const here = view.focus === null ? null : stepAt(outline, view.focus);
  const step = here === null ? (direction > 0 ? 0 : outline.firsts.length - 1) : within(here + direction, outline.firsts.length);
  moveTo(view, outline.firsts[step]);
}

/** @param {View} view */
function foldHere(view) {
  const outline = outlineOf(view);
  if (!outline || view.focus === null) return;
  const first = outline.firsts[stepAt(outline, view.focus)];
  hideTooltip(view);
  setFolded(view, first, !view.folded.has(first));
  say(view, `The step from ${first} is ${view.folded.has(first) ? "collapsed" : "open"}`);
}

/** @param {View} view @param {number} position */
function moveTo(view, position) {
  hideTooltip(view);
  setFocus(view, position);
  goTo(view, position, "nearest");
  explain(view, position);
  say(view, spoken(view, position));
}

/** @param {View} view @param {number | null} position */
function setFocus(view, position) {
  if (view.focus !== null) view.tokens[view.focus]?.classList.remove("focus");
  view.focus = position;
  if (position !== null) view.tokens[position].classList.add("focus");
}

// One step back; false where there is nothing to leave.
/** @param {View} view */
function escape(view) {
  if (!view.help.hidden) toggleHelp(view);
  else if (view.held !== null) hideTooltip(view);
  else if (view.lock !== null) lockFeature(view, null);
  else if (view.span) clearSpan(view);
  else if (view.tooltip.classList.contains("open")) hideTooltip(view);
  else return false;
  return true;
}

function newHelp() {
  const help = element("div", "help");
  help.setAttribute("role", "dialog");
  help.setAttribute("aria-label", "Help for the transcript");
  help.hidden = true;
  help.tabIndex = -1;
  const list = element("dl", "keys");
  for (const [key, meaning] of [...KEYS, ...POINTER]) list.append(element("dt", "", key), element("dd", "", meaning));
  help.append(list, element("p", "", COLOURS), signButton("close", "×", "Close the help"));
  return help;
}

/** @param {View} view */
function toggleHelp(view) {
  view.help.hidden = !view.help.hidden;
  (view.help.hidden ? view.scroller : view.help).focus({ preventScroll: true });
}
