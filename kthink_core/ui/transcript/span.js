// Drag over tokens: a span, marked and told to the page.

/** @param {View} view */
function followDrag(view) {
  const { scroller } = view;
  scroller.addEventListener("mousedown", (event) => {
    const token = tokenOf(event);
    if (!token || event.button !== 0) return;
    event.preventDefault(); // The browser's own selection would carry the signs for whitespace along.
    scroller.focus({ preventScroll: true, focusVisible: false });
    const from = event.shiftKey ? (view.focus ?? token.position) : token.position;
    view.drag = { from, to: token.position, shift: event.shiftKey };
    if (view.drag.shift) markSpan(view, ordered(view.drag));
    window.addEventListener("mouseup", () => endDrag(view), { once: true });
  });
  scroller.addEventListener("mousemove", (event) => {
    const token = tokenOf(event);
    if (!view.drag || !token) return;
    dragTo(view, token.position);
  });
}

/** @param {View} view @param {number} position */
function dragTo(view, position) {
  const { drag } = view;
  if (!drag || position === drag.to) return;
  drag.to = position;
  drag.moved = true;
  hideTooltip(view);
  markSpan(view, ordered(drag));
}

/** @param {View} view */
function endDrag(view) {
  const { drag, span } = view;
  view.drag = view.begun = null;
  if (!drag) return;
  if (drag.moved || drag.shift) {
    setFocus(view, drag.to);
    nameSpan(view);
    tell(view);
  } else if (span && span[0] <= drag.to && drag.to <= span[1]) clearSpan(view);
  else clickToken(view, drag.to);
}

/** @param {View} view @param {number} position */
function clickToken(view, position) {
  setFocus(view, position);
  const isHeld = view.held === position;
  hideTooltip(view);
  if (isHeld) return;
  view.held = position;
  explain(view, position);
}

/** @param {{ from: number, to: number }} ends @returns {Span} */
function ordered({ from, to }) {
  return [Math.min(from, to), Math.max(from, to)];
}

/** @param {View} view @param {Span | null} span */
function markSpan(view, span) {
  for (const token of view.spanned) token.classList.remove("spanned", "first", "last");
  view.span = span;
  view.spanned = span ? view.tokens.slice(span[0], span[1] + 1) : [];
  for (const token of view.spanned) token.classList.add("spanned");
  view.spanned[0]?.classList.add("first");
  view.spanned.at(-1)?.classList.add("last");
  if (!view.drag) nameSpan(view); // Its sign takes room, and nothing must move under the pointer.
}

/** @param {View} view */
function clearSpan(view) {
  view.begun = null;
  markSpan(view, null);
  listFeatures(view);
  fillHeading(view);
  tell(view);
  say(view, "The span is cleared");
}

// What is copied is what the model wrote, without the signs for whitespace.
/** @param {View} view @param {ClipboardEvent} event */
function copySpan(view, event) {
  if (!view.span || window.getSelection()?.toString()) return;
  const texts = view.facts.texts.slice(view.span[0], view.span[1] + 1);
  event.clipboardData?.setData("text/plain", wholeTexts(texts, "").join(""));
  event.preventDefault();
}
