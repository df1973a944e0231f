// The transcript in the browser. Called again whenever the data changes: it builds the tokens once per trace, and then
// only shades them. Every text is set through textContent: nothing that a model wrote is ever read as HTML.

const TITLES = { prompt: "Prompt", think: "Thinking", answer: "Answer" };

// Controls but newline and tab, marks that turn the direction of the text around them, the byte order mark.
const HIDDEN = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

function withoutHidden(text) {
  return text === "" ? "∅" : text.replace(HIDDEN, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// Whitespace in sight: dots for a token of nothing but spaces, a sign and a real line break for a newline.
function shown(text) {
  if (/^ +$/.test(text)) return "·".repeat(text.length);
  return withoutHidden(text).replace(/\n/g, "⏎\n").replace(/\t/g, "⇥\t");
}

function oneLine(text) {
  return withoutHidden(text).replace(/ /g, "·").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function build(root, data) {
  root.replaceChildren();
  let position = 0;
  for (const band of data.bands) {
    const section = element("section", `band ${band.segment}`);
    section.setAttribute("aria-label", TITLES[band.segment] ?? band.segment);
    const header = element("header", "title", TITLES[band.segment] ?? band.segment);
    const last = position + band.tokens - 1;
    header.append(element("span", "extent", `${band.tokens} tokens · positions ${position} to ${last}`));
    const tokens = element("div", "tokens");
    for (; position <= last; position++) {
      const token = element("span", "token", shown(data.texts[position]));
      token.dataset.position = position;
      tokens.append(token);
    }
    section.append(header, tokens);
    root.append(section);
  }
  root.append(element("div", "tooltip"));
}

// Opacity is the activation over the maximum in scope; a token out of scope is underlined at most.
function shade(root, data) {
  const tokens = root.querySelectorAll(".token");
  const sections = root.querySelectorAll(".band");
  let position = 0;
  data.bands.forEach((band, index) => {
    sections[index].classList.toggle("aside", !band.counts);
    for (const end = position + band.tokens; position < end; position++) {
      const activation = data.activations[position];
      const share = band.counts && data.maximum ? Math.min(activation / data.maximum, 1) : 0;
      tokens[position].style.setProperty("--share", share.toFixed(3));
      tokens[position].classList.toggle("fires", activation > 0);
    }
  });
}

function explain(root, token) {
  const data = root.transcript;
  const position = Number(token.dataset.position);
  const probability = data.probabilities[position];
  const facts = [
    ["token", oneLine(data.texts[position])],
    ["id", data.ids[position]],
    ["position", position],
    ["activation", data.activations[position] ? data.activations[position].toFixed(3) : "none"],
    ["probability", probability === null ? "given, not sampled" : `${(100 * probability).toFixed(1)} %`],
  ];
  const tooltip = root.querySelector(".tooltip");
  tooltip.replaceChildren();
  for (const [name, value] of facts) tooltip.append(element("span", "name", name), element("span", "value", value));
  tooltip.classList.add("open");
  // A token that wraps has several boxes: the first one is where it begins.
  const box = token.getClientRects()[0];
  const frame = root.getBoundingClientRect();
  const left = Math.min(box.left - frame.left, frame.width - tooltip.offsetWidth);
  tooltip.style.left = `${Math.max(left, 0)}px`;
  const below = box.bottom - frame.top + 6;
  const fits = box.bottom + tooltip.offsetHeight + 12 < window.innerHeight;
  tooltip.style.top = `${fits ? below : box.top - frame.top - tooltip.offsetHeight - 6}px`;
}

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(".transcript");
  if (!root) {
    root = element("div", "transcript");
    parentElement.append(root);
    root.addEventListener("mouseover", (event) => {
      const token = event.target.closest(".token");
      if (token) explain(root, token);
      else root.querySelector(".tooltip")?.classList.remove("open");
    });
    root.addEventListener("mouseleave", () => root.querySelector(".tooltip")?.classList.remove("open"));
  }
  root.transcript = data;
  if (root.dataset.trace !== data.trace) {
    build(root, data);
    root.dataset.trace = data.trace;
  }
  shade(root, data);
}
