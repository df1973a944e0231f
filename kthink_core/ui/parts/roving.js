// Many things that are one stop of the Tab key: the arrows go from one to the next that lies that way.

/** @typedef {{ x: number, y: number }} Place */

/** @type {Record<string, number[]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Which of some places, { x, y } in pixels, a key leads to from one of them: the nearest that way; of several as near,
// the one that lies least aside. The same where there is none; null where the key leads nowhere.
/** @param {Place[]} places @param {number} from @param {string} key */
function nextPlace(places, from, key) {
  if (key === "Home") return 0;
  if (key === "End") return places.length - 1;
  const arrow = ARROWS[key];
  if (!arrow) return null;
  const [right, down] = arrow;
  let best = { index: from, ahead: Infinity, aside: Infinity };
  places.forEach(({ x, y }, index) => {
    const [dx, dy] = [x - places[from].x, y - places[from].y];
    const [ahead, aside] = [Math.round(dx * right + dy * down), Math.abs(dx * down + dy * right)];
    if (ahead < 1 || ahead > best.ahead || (ahead === best.ahead && aside >= best.aside)) return;
    best = { index, ahead, aside };
  });
  return best.index;
}

/** @param {Element} element @returns {Place} */
function centre(element) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}

// What matches the selector in the container, now and later, is one stop, until the signal. Call `keepOneStop` when it
// has changed.
/** @param {HTMLElement} container @param {string} selector @param {AbortSignal} [signal] */
function rove(container, selector, signal) {
  container.addEventListener("focusin", ({ target }) => {
    if (target instanceof Element && target.matches(selector)) keepOneStop(container, selector, target);
  }, { signal });
  container.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const stops = stopsIn(container, selector);
    const from = stops.findIndex((stop) => stop === event.target);
    const next = from < 0 ? null : nextPlace(stops.map(centre), from, event.key);
    if (next === null) return;
    stops[next].focus();
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
}

/** @param {HTMLElement} container @param {string} selector */
function stopsIn(container, selector) {
  return [.../** @type {NodeListOf<HTMLElement | SVGElement>} */ (container.querySelectorAll(selector))];
}

/** @param {HTMLElement} container @param {string} selector @param {Element} [wanted] */
function keepOneStop(container, selector, wanted) {
  const stops = stopsIn(container, selector);
  const stop = wanted ?? stops.find((one) => one.getAttribute("tabindex") === "0") ?? stops[0];
  for (const one of stops) one.setAttribute("tabindex", one === stop ? "0" : "-1");
}
