// The transcript in the browser. Called again whenever the data changes; what stands is kept, and only what is new drawn.

/** @param {ShadowRoot} shadow */
function newView(shadow) {
  const view = /** @type {View} */ (/** @type {unknown} */ ({
    shadow,
    facts: null, // the last delivery, unpacked
    features: [], // shown at once, in the order of their hues
    lock: null, // the feature, or the measure, that stays lit alone
    pointed: null, // the feature under the pointer
    basis: "trace",
    span: null,
    anchor: null, // where Shift began to mark
    unsent: false, // what Shift marked, the page does not know yet
    drag: null,
    press: null, // a finger on a token that may become a long press
    begun: null, // where a long press began a span that waits for its end
    focus: null, // the position of the keyboard
    held: null, // the position whose tooltip stays
    explained: null, // the position whose tooltip is open
    tokens: [], // elements by position
    painted: [],
    spanned: [],
    marked: [],
    rows: [],
    grain: "none",
    cut: null, // the steps that the tokens are laid in
    folded: new Set(), // collapsed steps, by their first positions
    steps: [], // rows of the outline
    stop: 0, // the row of the outline that Tab leads to
    following: undefined, // the timer after which the outline is moved along
    hits: [], // what is sought: first and last position of each place
    hit: null, // the one that was gone to
    sighted: [], // their tokens
    sought: null, // a feature, where it is one
    telling: undefined, // the timer after which the page is told of it
    listed: null, // what stands out in the span, where the list shows that
    send: () => {},
  }));
  view.root = element("div", "transcript");
  view.scroller = element("div", "scroller");
  view.scroller.tabIndex = 0;
  view.scroller.setAttribute("role", "group");
  view.strip = newStrip(view);
  view.list = newList(view);
  const side = element("aside", "side");
  side.setAttribute("aria-label", "Features of this trace");
  view.heading = element("div", "heading");
  view.outline = newOutline(view);
  side.append(view.heading, view.list);
  view.tooltip = element("div", "tooltip");
  view.announcer = element("div", "announcer");
  view.announcer.setAttribute("aria-live", "polite");
  view.help = newHelp();
  const body = element("div", "body");
  const place = element("div", "strip-place");
  place.append(view.strip);
  const reading = element("div", "reading");
  reading.append(view.scroller, place);
  const beside = element("div", "beside");
  beside.append(view.outline, side);
  body.append(reading, beside);
  view.root.append(newToolbar(view), newTools(view), body, view.tooltip, view.help, view.announcer);
  listen(view);
  return view;
}

/** @param {View} view */
function listen(view) {
  const { root, scroller } = view;
  root.addEventListener("mouseover", (event) => {
    const token = tokenOf(event);
    const feature = hit(event, ".feature, .strong");
    pointAt(view, feature ? Number(feature.dataset.feature) : null);
    if (token && !view.drag && view.held === null) explain(view, token.position);
    else if (!token && view.held === null) hideTooltip(view);
  });
  root.addEventListener("mouseleave", () => {
    pointAt(view, null);
    if (view.held === null) hideTooltip(view);
  });
  scroller.addEventListener("scroll", () => {
    if (view.held !== null) place(view, view.tokens[view.held]);
    followReading(view);
  });
  root.addEventListener("click", (event) => {
    const button = hit(event, "button[data-feature]");
    if (button) clickFeature(view, button);
    if (hit(event, ".close")) toggleHelp(view);
    const step = /** @type {StepElement | null} */ (hit(event, ".step .fold, .summary")?.closest(".step"));
    if (step) setFolded(view, step.first, !view.folded.has(step.first));
    const branch = hit(event, "button[data-branch]")?.dataset.branch;
    if (branch) tell(view, null, branch.split(" ").map(Number));
  });
  root.addEventListener("keydown", (event) => onKey(view, event));
  root.addEventListener("keyup", (event) => onKeyUp(view, event));
  root.addEventListener("copy", (event) => copySpan(view, event));
  followDrag(view);
  followTouch(view);
}

// What the person did here stays until the page says something new.
/** @param {View} view @param {Sent} data */
function take(view, data) {
  /** @type {Facts | null} */
  const before = view.facts;
  view.facts = readFacts(data);
  const isOther = before === null || before.trace !== data.trace;
  if (isOther) {
    setFocus(view, null);
    hideTooltip(view);
  }
  const isElsewhere = isOther || before.hookpoint !== data.hookpoint;
  if (isElsewhere) view.pointed = null;
  if (isElsewhere || before.locked !== data.locked || before.shade !== data.shade) {
    view.lock = measureOf(data.shade) ?? data.locked;
  }
  if (before?.basis !== data.basis) view.basis = data.basis;
  if (isOther || !same(before.features, data.features)) view.features = data.features;
  const isSpanOther = isOther || !same(before.span, data.span);
  const span = isSpanOther ? data.span : view.span;
  if (isSpanOther) view.begun = null;
  if (isOther || before.grain !== data.grain) {
    openSteps(view);
    view.grain = data.grain;
  }
  const read = !isOther && before.grain !== data.grain ? positionRead(view) : null;
  layTokens(view, before);
  for (const of of /** @type {const} */ (["focus", "held", "anchor", "begun"])) {
    const position = view[of];
    if (position !== null && position >= view.facts.length) view[of] = null;
  }
  view.span = span;
  dress(view);
  listFeatures(view);
  listSteps(view);
  describe(view);
  fillToolbar(view);
  fillTools(view);
  takeSought(view, before);
  restTooltip(view);
  if (read !== null) goTo(view, read);
  const isCalled = isOther || before.position !== data.position || before.visit !== data.visit;
  if (data.position !== null && isCalled) {
    goTo(view, data.position);
    flash(view.tokens[data.position]);
    setFocus(view, data.position);
  } else if (isOther && before) view.scroller.scrollTop = 0;
}

/** @param {View} view */
function describe(view) {
  const { facts } = view;
  const name = `Transcript, ${facts.length} tokens. Arrow keys go from token to token, question mark for help.`;
  view.scroller.setAttribute("aria-label", name);
  fillHeading(view);
}

/** @param {Component<Sent>} component */
export default function ({ data, parentElement, setTriggerValue }) {
  let root = /** @type {HTMLElement & { view: View } | null} */ (parentElement.querySelector(".transcript"));
  if (!root) {
    const view = newView(parentElement);
    root = Object.assign(view.root, { view });
    parentElement.append(root);
  }
  root.view.send = setTriggerValue;
  take(root.view, data);
}
