// The tokens as elements: bands of one segment, in blocks that the browser may skip while they are out of sight.

/** @type {Record<string, string>} */
const SIGNS = { right: "✓ ", wrong: "✗ ", cut: "… " };
const RULE = 50; // The margin says every so many positions where one is.
const SHORTEST_BLOCK = 24;
const LONGEST_BLOCK = 500; // A paragraph without end is cut here.
const CHUNK = 400; // Tokens of steps that the browser skips together: each costs at every frame.
const CHARACTERS_A_LINE = 90; // A guess: how tall a block is that was never drawn.

// Keeps the elements of the tokens that are the same as before, and appends the others.
/** @param {View} view @param {Facts | null} before */
function layTokens(view, before) {
  const { facts } = view;
  let same = 0;
  if (before?.trace === facts.trace) {
    const most = Math.min(before.length, facts.length);
    while (same < most && before.written[same] === facts.written[same] && before.segments[same] === facts.segments[same]) {
      same++;
    }
  }
  const cut = outlineOf(view);
  same = Math.min(same, cutAlike(view.cut, cut));
  view.cut = cut;
  if (!same) view.scroller.replaceChildren();
  for (const token of view.tokens.splice(same)) {
    const block = token.parentElement;
    token.remove();
    if (block && !block.childElementCount) block.remove();
  }
  for (const step of view.scroller.querySelectorAll(".step, .chunk")) if (!step.querySelector(".token")) step.remove();
  for (const band of [...view.scroller.children]) if (!band.querySelector(".token")) band.remove();
  appendTokens(view, same);
  titleBands(view);
  for (const first of [...view.folded]) {
    if (cut?.index.has(first)) setFolded(view, first, true);
    else view.folded.delete(first);
  }
}

/** @param {View} view @param {number} from */
function appendTokens(view, from) {
  const { facts, tokens, scroller, cut } = view;
  let step = tokens.at(-1)?.closest(".step");
  let chunk = step?.parentElement;
  let chunked = chunk?.querySelectorAll(".token").length ?? 0;
  let block = tokens.at(-1)?.parentElement;
  let band = /** @type {HTMLElement | null | undefined} */ (block?.closest(".band"));
  const fresh = document.createDocumentFragment();
  for (let position = from; position < facts.length; position++) {
    const segment = facts.segments[position];
    if (band?.dataset.segment !== segment) {
      band = newBand(segment);
      fresh.append(band);
      step = chunk = block = undefined;
    }
    if (cut?.index.has(position)) {
      if (!chunk || chunked >= CHUNK) {
        chunk = element("div", "chunk");
        band.lastElementChild?.append(chunk);
        chunked = 0;
      }
      step = newStep(position);
      chunk.append(step);
      block = undefined;
    }
    if (!block || isFull(block, facts.written[position - 1])) {
      block = element("div", "block");
      (step ?? band.lastElementChild)?.append(block);
    }
    const token = newToken(position, facts.written[position]);
    tokens.push(token);
    chunked++;
    block.append(token);
  }
  scroller.append(fresh);
  const blocks = new Set(tokens.slice(from).map((token) => token.parentElement));
  /** @type {Map<HTMLElement, number>} */
  const tall = new Map();
  for (const changed of blocks) {
    const own = lines(changed?.textContent ?? "");
    changed?.style.setProperty("--lines", String(own));
    const around = /** @type {HTMLElement | null | undefined} */ (changed?.closest(".chunk"));
    if (around) tall.set(around, (tall.get(around) ?? 0) + own);
  }
  for (const [around, sum] of tall) {
    around.style.setProperty("--lines", String(sum));
    around.style.setProperty("--steps", String(around.childElementCount));
  }
}

/** @param {string} segment */
function newBand(segment) {
  const band = element("section", `band ${segment}`);
  band.dataset.segment = segment;
  band.setAttribute("aria-label", TITLES[segment] ?? segment);
  band.append(element("header", "title"), element("div", "tokens"));
  return band;
}

/** @param {number} position @param {string} text */
function newToken(position, text) {
  const made = element("span", SPECIAL.test(text) ? "token special" : "token", shown(text));
  const token = Object.assign(made, { position });
  if (position % RULE === 0) {
    token.classList.add("rule");
    token.dataset.position = String(position);
  }
  return token;
}

// A block ends where a line ends anyway.
/** @param {Element} block @param {string} last */
function isFull(block, last) {
  const { childElementCount } = block;
  return (last.endsWith("\n") && childElementCount >= SHORTEST_BLOCK) || childElementCount >= LONGEST_BLOCK;
}

/** @param {string} text */
function lines(text) {
  return text.split("\n").reduce((sum, line) => sum + Math.max(Math.ceil(line.length / CHARACTERS_A_LINE), 1), 0);
}

/** @param {View} view */
function titleBands(view) {
  const { facts, scroller } = view;
  let first = 0;
  facts.bands.forEach((run, index) => {
    const band = scroller.children[index];
    const head = /** @type {Element} */ (band.firstElementChild);
    const last = first + run.tokens - 1;
    const title = TITLES[run.segment] ?? run.segment;
    const extent = `${run.tokens.toLocaleString("en")} tokens · positions ${first} to ${last}`;
    band.classList.toggle("aside", !run.counts);
    head.replaceChildren(element("span", "name", title), element("span", "extent", extent));
    if (facts.verdict !== null && index === facts.bands.length - 1) {
      const [word] = facts.verdict.split(/\W/, 1);
      const sign = SIGNS[word] ?? "";
      head.append(element("span", `verdict ${word}`, sign + facts.verdict));
    }
    first = last + 1;
  });
}

// What the tokens show beside their texts.
/** @param {View} view */
function dress(view) {
  markSpan(view, view.span);
  shade(view);
  for (const token of view.marked) token.classList.remove("marked");
  view.marked = view.facts.marked.map((position) => view.tokens[position]);
  for (const token of view.marked) token.classList.add("marked");
  setFocus(view, view.focus);
}

/** @param {Event} event @returns {TokenElement | null} */
function tokenOf(event) {
  return /** @type {TokenElement | null} */ (hit(event, ".token"));
}

/** @param {View} view @param {number} position @param {ScrollLogicalPosition} [where] */
function goTo(view, position, where = "center") {
  reveal(view, position);
  view.tokens[position]?.scrollIntoView({ block: where });
}

/** @param {HTMLElement} token */
function flash(token) {
  token.classList.remove("flash");
  void token.offsetWidth; // Drawn in between, the animation begins anew.
  token.classList.add("flash");
}
