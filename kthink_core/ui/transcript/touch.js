// On a touch screen a drag scrolls. There a long press on a token begins a span, and a tap on another token ends it; a
// finger that stays down after the long press takes the end along.

const LONG_PRESS = 450; // Milliseconds: sooner than the browser's own, which selects text and opens a menu.
const STILL = 10; // Pixels that a finger may move while it presses.

/** @param {View} view */
function followTouch(view) {
  const { scroller } = view;
  scroller.addEventListener("touchstart", (event) => startTouch(view, event), { passive: true });
  scroller.addEventListener("touchmove", (event) => moveTouch(view, event), { passive: false });
  scroller.addEventListener("touchend", (event) => endTouch(view, event));
  scroller.addEventListener("touchcancel", () => {
    forgetPress(view);
    if (view.drag?.touch) awaitEnd(view, view.drag);
  });
  scroller.addEventListener("contextmenu", (event) => {
    if (view.press || view.drag?.touch) event.preventDefault();
  });
}

/** @param {View} view @param {TouchEvent} event */
function startTouch(view, event) {
  forgetPress(view);
  const token = tokenOf(event);
  if (!token || event.touches.length > 1 || view.drag) return; // Two fingers zoom.
  const { position } = token;
  const { clientX: x, clientY: y } = event.touches[0];
  view.press = { position, x, y, timer: setTimeout(() => beginSpan(view, position), LONG_PRESS) };
}

/** @param {View} view */
function forgetPress(view) {
  clearTimeout(view.press?.timer);
  view.press = null;
}

/** @param {View} view @param {number} position */
function beginSpan(view, position) {
  view.press = view.begun = null;
  hideTooltip(view);
  view.drag = { from: position, to: position, touch: true };
  markSpan(view, [position, position]);
}

/** @param {View} view @param {TouchEvent} event */
function moveTouch(view, event) {
  const { clientX: x, clientY: y } = event.touches[0];
  if (view.press && Math.hypot(x - view.press.x, y - view.press.y) > STILL) forgetPress(view);
  if (!view.drag?.touch) return;
  event.preventDefault(); // It would scroll.
  const token = /** @type {TokenElement | null | undefined} */ (view.shadow.elementFromPoint(x, y)?.closest(".token"));
  if (token) dragTo(view, token.position);
}

/** @param {View} view @param {TouchEvent} event */
function endTouch(view, event) {
  const { press, begun } = view;
  forgetPress(view);
  if (view.drag?.touch) {
    event.preventDefault(); // What follows a touch as a click would clear the span.
    if (view.drag.moved) endDrag(view);
    else awaitEnd(view, view.drag);
  } else if (press && begun !== null) {
    event.preventDefault();
    view.drag = { from: begun, to: begun, moved: true };
    dragTo(view, press.position);
    endDrag(view);
  }
}

// The finger is up, and the span has no end yet.
/** @param {View} view @param {Drag} drag */
function awaitEnd(view, drag) {
  view.begun = drag.from;
  view.drag = null;
  nameSpan(view);
  say(view, `A span begins at position ${view.begun}: tap its last token`);
}
