// The tokens as elements: bands of one segment, in blocks that the browser may skip while they are out of sight.

const RULE = 50; // The margin says every so many positions where one is.
const SHORTEST_BLOCK = 24;
const LONGEST_BLOCK = 500; // A paragraph without end is cut here.
const CHARACTERS_A_LINE = 90; // A guess: how tall a block is that was never drawn.

// Keeps the elements of the tokens that are the same as before, and appends the others.
function layTokens(view, before) {
  const { facts } = view;
  let same = 0;
  if (before?.trace === facts.trace) {
    const most = Math.min(before.length, facts.length);
    while (same < most && before.written[same] === facts.written[same] && before.segments[same] === facts.segments[same]) {
      same++;
    }
  }
  for (const token of view.tokens.splice(same)) {
    const block = token.parentElement;
    token.remove();
    if (!block.childElementCount) block.remove();
  }
  for (const band of [...view.scroller.children]) if (!band.querySelector(".token")) band.remove();
  appendTokens(view, same);
  titleBands(view);
}

function appendTokens(view, from) {
  const { facts, tokens, scroller } = view;
  let block = tokens.at(-1)?.parentElement;
  let band = block?.closest(".band");
  const fresh = document.createDocumentFragment();
  for (let position = from; position < facts.length; position++) {
    const segment = facts.segments[position];
    if (band?.dataset.segment !== segment) {
      band = newBand(segment);
      fresh.append(band);
      block = undefined;
    }
    if (!block || isFull(block, facts.written[position - 1])) {
      block = element("div", "block");
      band.lastElementChild.append(block);
    }
    const token = newToken(position, facts.written[position]);
    tokens.push(token);
    block.append(token);
  }
  scroller.append(fresh);
  const blocks = new Set(tokens.slice(from).map((token) => token.parentElement));
  for (const changed of blocks) changed.style.setProperty("--lines", lines(changed.textContent));
}

function newBand(segment) {
  const band = element("section", `band ${segment}`);
  band.dataset.segment = segment;
  band.setAttribute("aria-label", TITLES[segment] ?? segment);
  band.append(element("header", "title"), element("div", "tokens"));
  return band;
}

function newToken(position, text) {
  const token = element("span", SPECIAL.test(text) ? "token special" : "token", shown(text));
  token.position = position;
  if (position % RULE === 0) {
    token.classList.add("rule");
    token.dataset.position = position;
  }
  return token;
}

// A block ends where a line ends anyway.
function isFull(block, last) {
  const { childElementCount } = block;
  return (last.endsWith("\n") && childElementCount >= SHORTEST_BLOCK) || childElementCount >= LONGEST_BLOCK;
}

function lines(text) {
  return text.split("\n").reduce((sum, line) => sum + Math.max(Math.ceil(line.length / CHARACTERS_A_LINE), 1), 0);
}

function titleBands(view) {
  const { facts, scroller } = view;
  let first = 0;
  facts.bands.forEach((run, index) => {
    const band = scroller.children[index];
    const last = first + run.tokens - 1;
    const title = TITLES[run.segment] ?? run.segment;
    const extent = `${run.tokens.toLocaleString("en")} tokens · positions ${first} to ${last}`;
    band.classList.toggle("aside", !run.counts);
    band.firstElementChild.replaceChildren(element("span", "name", title), element("span", "extent", extent));
    if (facts.verdict !== null && index === facts.bands.length - 1) {
      const [word] = facts.verdict.split(/\W/, 1);
      const sign = { right: "✓ ", wrong: "✗ " }[word] ?? "";
      band.firstElementChild.append(element("span", `verdict ${word}`, sign + facts.verdict));
    }
    first = last + 1;
  });
}

function tokenOf(event) {
  return event.target.closest?.(".token");
}

function goTo(view, position, where = "center") {
  view.tokens[position]?.scrollIntoView({ block: where });
}

function flash(token) {
  token.classList.remove("flash");
  void token.offsetWidth; // Drawn in between, the animation begins anew.
  token.classList.add("flash");
}
