// The marks of the chart beside this component are one stop of the Tab key; Enter and the space bar click one.

const MARKS = "svg.marks path[role=graphics-symbol]"; // axes and legends are groups;

function send(mark, type) {
  const { x: clientX, y: clientY } = centre(mark);
  mark.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX, clientY }));
}

export default function ({ parentElement }) {
  const place = (parentElement.host ?? parentElement).closest("[data-testid=stVerticalBlock]");
  const gone = new AbortController();
  const { signal } = gone;
  rove(place, MARKS, signal);
  place.addEventListener("keydown", (event) => {
    if (!["Enter", " "].includes(event.key) || !event.target.matches(MARKS)) return;
    event.preventDefault();
    send(event.target, "click");
  }, { signal });
  // What the chart tells under a pointer.
  place.addEventListener("focusin", (event) => event.target.matches(MARKS) && send(event.target, "pointermove"), { signal });
  place.addEventListener("focusout", (event) => event.target.matches(MARKS) && send(event.target, "pointerout"), { signal });
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
