// The outline: the steps above the list of features. A click goes to a step and marks it; arrows go from one to another,
// → opens and ← collapses it.

const REST = 120; // Milliseconds after the last scrolling: to look where somebody reads would cost a part of every frame.
const GROUP = 40; // Rows that the browser skips together.

/** @param {View} view */
function newOutline(view) {
  const outline = element("section", "outline");
  outline.setAttribute("aria-label", "Outline");
  outline.hidden = true;
  const head = element("div", "outline-head");
  view.outlineName = element("span", "name");
  for (const [label, isFolded] of /** @type {const} */ ([["Collapse all", true], ["Open all", false]])) {
    const button = element("button", "all", label);
    button.type = "button";
    button.addEventListener("click", () => foldAll(view, isFolded));
    head.append(button);
  }
  head.prepend(view.outlineName);
  view.outlineList = element("div", "steps");
  view.outlineList.setAttribute("role", "list");
  view.outlineList.setAttribute("aria-label", "Steps. Arrow keys go from one to another, and open and collapse");
  view.outlineList.addEventListener("click", (event) => clickStep(view, event));
  view.outlineList.addEventListener("keydown", (event) => onStepKey(view, event));
  outline.append(head, view.outlineList);
  return outline;
}

// Rows that say the same as before stay.
/** @param {View} view */
function listSteps(view) {
  const outline = outlineOf(view);
  view.outline.hidden = outline === null;
  view.root.classList.toggle("cut", outline !== null);
  const before = new Map(view.steps.map((row) => [row.told, row]));
  view.steps = outline ? Array.from(outline.firsts, (_, step) => stepRow(view, outline, step, before)) : [];
  if (before.size !== view.steps.length || !view.steps.every((row) => row.isConnected)) fillRows(view);
  if (outline) view.outlineName.textContent = `${outline.firsts.length.toLocaleString("en")} ${GRAINS[view.grain].name}`;
  stopAt(view, Math.min(view.stop, view.steps.length - 1), false);
  if (!view.outlineList.querySelector("[aria-current]")) followReading(view);
}

/** @param {View} view */
function fillRows(view) {
  const groups = [];
  for (let first = 0; first < view.steps.length; first += GROUP) {
    const rows = view.steps.slice(first, first + GROUP);
    const group = element("div", "group");
    group.setAttribute("role", "presentation");
    group.style.setProperty("--rows", String(rows.length));
    group.append(...rows);
    groups.push(group);
  }
  view.outlineList.replaceChildren(...groups);
}

/** @param {View} view @param {Outline} outline @param {number} step @param {Map<string, StepRow>} before @returns {StepRow} */
function stepRow(view, outline, step, before) {
  const { facts } = view;
  const extent = extentOf(facts, outline, step);
  const words = firstWords(facts, extent);
  const strong = strongest(view, outline, step);
  const told = [...extent, words, ...strong.map((one) => one.title)].join("\n");
  const known = before.get(told);
  if (known) {
    tellFold(known.lastElementChild, known.first, view.folded.has(known.first));
    return known;
  }
  const row = Object.assign(element("div", `step-row ${facts.segments[extent[0]]}`), { told, first: extent[0] });
  row.setAttribute("role", "listitem");
  const go = element("button", "go");
  go.type = "button";
  go.tabIndex = -1;
  go.title = `${words}\nPositions ${extent.join(" to ")}`;
  go.append(element("span", "at", extent[0]), element("span", "words", words), element("span", "size", sizeOf(extent)));
  const features = element("span", "standing");
  features.append(...strong);
  go.append(features);
  const fold = signButton("fold", "", "");
  fold.tabIndex = -1;
  tellFold(fold, extent[0], view.folded.has(extent[0]));
  row.append(go, fold);
  return row;
}

/** @param {View} view @param {MouseEvent} event */
function clickStep(view, event) {
  const row = /** @type {StepRow | null} */ (hit(event, ".step-row"));
  if (!row) return;
  stopAt(view, view.steps.indexOf(row), false);
  if (hit(event, ".fold")) setFolded(view, row.first, !view.folded.has(row.first));
  else goToStep(view, row.first);
}

/** @param {View} view @param {number} first */
function goToStep(view, first) {
  const outline = outlineOf(view);
  if (!outline) return;
  const step = stepAt(outline, first);
  const extent = extentOf(view.facts, outline, step);
  hideTooltip(view);
  markSpan(view, extent);
  setFocus(view, first);
  goTo(view, first);
  flash(view.tokens[first]);
  markRow(view, view.steps[step]);
  tell(view);
  say(view, `The step from ${extent.join(" to ")} is marked`);
}

/** @param {View} view @param {KeyboardEvent} event */
function onStepKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const last = view.steps.length - 1;
  /** @type {Record<string, number>} */
  const to = { ArrowUp: view.stop - 1, ArrowDown: view.stop + 1, Home: 0, End: last };
  const row = view.steps[view.stop];
  if (event.key in to) stopAt(view, within(to[event.key], last + 1), true);
  else if (event.key === "ArrowLeft" && row) setFolded(view, row.first, true);
  else if (event.key === "ArrowRight" && row) setFolded(view, row.first, false);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

// The list is one stop of the Tab key.
/** @param {View} view @param {number} number @param {boolean} isFocused */
function stopAt(view, number, isFocused) {
  const button = (/** @type {number} */ at) => /** @type {HTMLElement | undefined} */ (view.steps[at]?.firstElementChild);
  button(view.stop)?.setAttribute("tabindex", "-1");
  view.stop = Math.max(number, 0);
  button(view.stop)?.setAttribute("tabindex", "0");
  if (isFocused) button(view.stop)?.focus();
}

// The marked step, while it is in sight, or the one in the middle of the window, is marked in the list, which goes along.
/** @param {View} view */
function followReading(view) {
  clearTimeout(view.following);
  view.following = setTimeout(() => {
    const outline = outlineOf(view);
    const marked = view.span && stepElement(view, view.span[0]);
    const read = marked && isInSight(view, marked) ? marked : elementRead(view)?.closest(".step");
    const step = /** @type {StepElement | null | undefined} */ (read);
    if (outline && step) markRow(view, view.steps[stepAt(outline, step.first)]);
  }, REST);
}

/** @param {View} view @param {HTMLElement} inside */
function isInSight({ scroller }, inside) {
  const [outer, inner] = [scroller, inside].map((one) => one.getBoundingClientRect());
  return inner.top < outer.bottom && inner.bottom > outer.top;
}

/** @param {View} view @param {StepRow | undefined} row */
function markRow(view, row) {
  if (!row || row.hasAttribute("aria-current")) return;
  const list = view.outlineList;
  for (const other of list.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  if (list.matches(":hover") || list.contains(view.shadow.activeElement)) return;
  const [outer, inner] = [list, row].map((one) => one.getBoundingClientRect());
  list.scrollTop += Math.min(inner.top - outer.top, 0) || Math.max(inner.bottom - outer.bottom, 0);
}

// What lies in the middle of the part of the transcript that is in sight.
/** @param {View} view */
function elementRead({ shadow, scroller }) {
  const { left, top, bottom } = scroller.getBoundingClientRect();
  const middle = (Math.max(top, HEADER) + Math.min(bottom, window.innerHeight)) / 2;
  for (const y of [middle, middle + 14, middle - 14]) {
    const found = shadow.elementFromPoint(left + scroller.clientWidth / 4, y);
    if (found && scroller.contains(found) && found.closest(".block, .step")) return found;
  }
  return null;
}

// The position in the middle of what is in sight; null where there is none.
/** @param {View} view */
function positionRead(view) {
  const found = elementRead(view);
  const token = found?.closest(".token") ?? found?.closest(".block, .step")?.querySelector(".token");
  return token ? /** @type {TokenElement} */ (token).position : null;
}
