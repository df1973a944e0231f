// The marks of the chart beside this component are one stop of the Tab key; Enter and the space bar click one.

const MARKS = "svg.marks path[role=graphics-symbol]"; // axes and legends are groups;

/** @param {EventTarget | null} target @returns {target is Element} */
function isMark(target) {
  return target instanceof Element && target.matches(MARKS);
}

/** @param {Element} mark @param {string} type */
function send(mark, type) {
  const { x: clientX, y: clientY } = centre(mark);
  mark.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX, clientY }));
}

/** @param {Component<null>} component */
export default function ({ parentElement }) {
  const place = /** @type {HTMLElement} */ (parentElement.host.closest("[data-testid=stVerticalBlock]"));
  const gone = new AbortController();
  const { signal } = gone;
  rove(place, MARKS, signal);
  place.addEventListener("keydown", (event) => {
    if (!["Enter", " "].includes(event.key) || !isMark(event.target)) return;
    event.preventDefault();
    send(event.target, "click");
  }, { signal });
  // What the chart tells under a pointer.
  place.addEventListener("focusin", ({ target }) => isMark(target) && send(target, "pointermove"), { signal });
  place.addEventListener("focusout", ({ target }) => isMark(target) && send(target, "pointerout"), { signal });
  const keep = () => {
    for (const group of place.querySelectorAll("svg.marks g[tabindex]")) group.removeAttribute("tabindex"); // Vega's own
    keepOneStop(place, MARKS);
  };
  // It draws its marks late, and anew when its size or theme changes.
  const drawn = new MutationObserver(keep);
  drawn.observe(place, { childList: true, subtree: true });
  keep();
  return () => {
    gone.abort();
    drawn.disconnect();
  };
}
