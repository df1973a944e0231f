// Tables whose rows lead somewhere: Enter and a click choose the row, arrow keys only move. Streamlit's grid is drawn on a
// canvas and chooses the row of its cell with Shift and Space; here Enter and a click become that key. The box before each
// row chooses it by itself. Run with each such table; it listens once, for all of them.

(() => {
  const TABLES = "[class*=st-key-rows]";
  const CELLS = ".dvn-scroller, [data-testid=data-grid-canvas]"; // What scrolls lies over the canvas.
  const LINE = 35 / 16; // Height of the header and of a row, rem.
  const STILL = 5; // Pixels that the pointer may move during a click: more is a drag.
  const TWICE = 300; // Milliseconds: the second half of a double click would take the choice back.

  /** @type {PointerEvent | null} */
  let pressed = null;
  let last = -Infinity;

  // The canvas of the table whose cells an event is meant for.
  /** @param {Event} event @returns {HTMLElement | null} */
  function gridOf({ target }) {
    if (!(target instanceof Element) || !target.closest(TABLES) || !target.closest(CELLS)) return null;
    return target.closest("[data-testid=stDataFrame]")?.querySelector("[data-testid=data-grid-canvas]") ?? null;
  }

  // Width of the boxes before the rows, as the grid has it; before it has told screen readers how many rows there are, as
  // for a few.
  /** @param {HTMLElement} grid */
  function boxWidth(grid) {
    const rows = Number(grid.querySelector("table")?.getAttribute("aria-rowcount")) - 1;
    return rows > 10000 ? 48 : rows > 1000 ? 44 : rows > 100 ? 36 : 32;
  }

  /** @param {HTMLElement} grid @param {MouseEvent} event */
  function isCell(grid, { clientX, clientY }) {
    const { left, top } = grid.getBoundingClientRect();
    const line = LINE * parseFloat(getComputedStyle(document.documentElement).fontSize);
    return clientY - top > line && clientX - left > boxWidth(grid);
  }

  /** @param {Event} event @param {HTMLElement} grid */
  function choose(event, grid) {
    if (event.timeStamp - last < TWICE) return;
    last = event.timeStamp;
    const key = { key: " ", code: "Space", keyCode: 32, shiftKey: true, bubbles: true, cancelable: true };
    grid.dispatchEvent(new KeyboardEvent("keydown", key));
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const grid = gridOf(event);
    if (!grid || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.stopImmediatePropagation();
    if (event.key === "Enter") {
      event.preventDefault();
      choose(event, grid);
    } else document.dispatchEvent(new KeyboardEvent("keydown", event)); // The grid would take the choice back.
  }

  /** @param {PointerEvent} event */
  function onPress(event) {
    const grid = gridOf(event);
    pressed = grid && event.button === 0 && isCell(grid, event) ? event : null;
  }

  /** @param {MouseEvent} event */
  function onClick(event) {
    const grid = gridOf(event);
    if (!grid || !pressed || !isCell(grid, event)) return;
    if (Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) <= STILL) choose(event, grid);
  }

  if ("kthinkRows" in window) return;
  Object.assign(window, { kthinkRows: true });
  window.addEventListener("keydown", onKey, true);
  window.addEventListener("pointerdown", onPress, true);
  window.addEventListener("click", onClick);
})();
