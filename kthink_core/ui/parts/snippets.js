// Stretches of traces around places where a feature fires, written as in the transcript (transcript/text.js). Widening
// stays in the browser; only a place to go to is told to the server.

/**
 * As snippets.payload makes them; the lists are of the tokens, the first at position `first`.
 * @typedef {{ inference: number, position: number, activation: number, first: number, length: number, texts: string[],
 *   ids: number[], segments: string[], activations: number[], times: number, alike: number,
 *   more: [inference: number, position: number, activation: number][], moreCount: number }} SentSnippet
 * @typedef {{ inference: number, position: number }} Place
 * @typedef {SentSnippet & { written: string[] }} Snippet
 * @typedef {{ title: string, note: string, snippets: SentSnippet[] }} Group
 * @typedef {HTMLElement & { content: string, open: (place: Place) => void }} Root
 * @typedef {{ groups: Group[], maximum: number, near: number, measure?: string }} Contexts
 */

// As in the transcript, but a newline ends no row.
/** @param {string} text */
function inRow(text) {
  return shown(text).replace(/⏎\n/g, "⏎").replace(/⇥\t/g, "⇥");
}

/** @param {Snippet} snippet @param {number} index @param {number} maximum */
function token(snippet, index, maximum) {
  const activation = snippet.activations[index];
  const made = element("span", `token ${snippet.segments[index]}`.trim(), inRow(snippet.written[index]));
  made.dataset.index = String(index);
  made.style.setProperty("--share", Math.min(activation / maximum, 1).toFixed(3));
  made.classList.toggle("peak", snippet.first + index === snippet.position);
  return made;
}

// The tokens within `reach` of the place; what is left out at an end is told by an ellipsis.
/** @param {HTMLElement} text @param {Snippet} snippet @param {number} maximum @param {number} reach */
function fill(text, snippet, maximum, reach) {
  const at = snippet.position - snippet.first;
  const begin = Math.max(at - reach, 0);
  const end = Math.min(at + reach + 1, snippet.texts.length);
  text.replaceChildren();
  if (snippet.first + begin > 0) text.append(element("span", "edge", "… "));
  for (let index = begin; index < end; index++) text.append(token(snippet, index, maximum));
  if (snippet.first + end < snippet.length) text.append(element("span", "edge", " …"));
}

// Told when a pointer comes, not for every token beforehand.
/** @param {Snippet} snippet @param {HTMLElement} made @param {string} measure */
function explain(snippet, made, measure) {
  const index = Number(made.dataset.index);
  const text = toldAs(snippet.texts, snippet.written, index);
  const activation = snippet.activations[index];
  const fires = activation ? numeral(activation, 3) : "none";
  made.title = `${text}\nid ${snippet.ids[index]}\nposition ${snippet.first + index}\n${measure} ${fires}`;
}

/** @param {Place} place @param {string} text @param {(place: Place) => void} open */
function placeButton(place, text, open) {
  const made = element("button", "place", text);
  made.type = "button";
  made.title = `Go to position ${place.position} of inference ${place.inference}`;
  made.addEventListener("click", () => open(place));
  return made;
}

// The other positions that a context stands for, listed once somebody wants to see them.
/** @param {SentSnippet} snippet @param {HTMLElement} made the context's row @param {(place: Place) => void} open */
function others(snippet, made, open) {
  const { more, moreCount } = snippet;
  const button = element("button", "others", `and ${moreCount} more ${moreCount > 1 ? "positions" : "position"}`);
  button.type = "button";
  button.title = "Positions of the same context, or of one that is nearly the same";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const shown = made.querySelector(".list");
    button.setAttribute("aria-expanded", String(!shown));
    if (shown) return shown.remove();
    const list = element("div", "list");
    for (const [inference, position, activation] of more)
      list.append(placeButton({ inference, position }, `${inference} · ${position} (${numeral(activation, 2)})`, open));
    if (moreCount > more.length) list.append(element("span", "told", `and ${moreCount - more.length} more`));
    made.append(list);
  });
  return button;
}

/** @param {SentSnippet} sent @param {Contexts} data @param {(place: Place) => void} open */
function row(sent, data, open) {
  const snippet = { ...sent, written: wholeTexts(sent.texts, PART) };
  const made = element("div", "snippet");
  const text = element("button", "text");
  text.type = "button";
  text.setAttribute("aria-expanded", "false");
  const stored = snippet.inference >= 0; // else a text of its own, all of it in sight
  if (stored)
    text.setAttribute("aria-label", `Context in inference ${snippet.inference}, position ${snippet.position}; widen`);
  fill(text, snippet, data.maximum, data.near);
  text.addEventListener("click", () => {
    if (window.getSelection()?.toString()) return; // text is being copied
    const wide = text.getAttribute("aria-expanded") !== "true";
    text.setAttribute("aria-expanded", String(wide));
    fill(text, snippet, data.maximum, wide ? snippet.texts.length : data.near);
  });
  text.addEventListener("mouseover", (event) => {
    const hovered = hit(event, ".token");
    if (hovered) explain(snippet, hovered, data.measure ?? "activation");
  });
  const told = element("span", "told", snippet.times > 1 ? `fires ${snippet.times}×` : "");
  told.title = `Fires at ${snippet.times} of these tokens.`;
  if (stored) told.title += ` Nearly the same elsewhere, not shown: ${snippet.alike}.`;
  if (snippet.moreCount) told.append(" ", others(snippet, made, open));
  made.append(element("span", "activation", numeral(snippet.activation, 2)), text, told);
  if (stored) made.append(placeButton(snippet, `inference ${snippet.inference} · ${snippet.position} →`, open));
  return made;
}

/** @param {Component<Contexts>} component */
export default function ({ data, parentElement, setTriggerValue }) {
  let root = /** @type {Root | null} */ (parentElement.querySelector(".snippets"));
  if (!root) {
    root = Object.assign(element("div", "snippets"), { content: "", open: () => {} });
    parentElement.append(root);
  }
  const drawn = root;
  const content = JSON.stringify(data);
  root.open = ({ inference, position }) => setTriggerValue("opened", { inference, position });
  if (root.content === content) return; // what was widened stays wide
  root.content = content;
  root.replaceChildren();
  for (const group of data.groups) {
    const section = element("section", "group");
    const heading = element("h3", "heading", group.title);
    heading.append(element("span", "note", group.note));
    section.append(heading);
    for (const snippet of group.snippets) section.append(row(snippet, data, (place) => drawn.open(place)));
    root.append(section);
  }
}
