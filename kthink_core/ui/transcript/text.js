// How a token is written. Every text is set through textContent: nothing that a model wrote is ever read as HTML.

/** @type {Record<string, string>} */
const TITLES = { prompt: "Prompt", think: "Thinking", answer: "Answer" };

// The rules of kthink_core/signs.py, which says what each set holds and when bytes are put together.
const HIDDEN =
  /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\u{13430}-\u{1343f}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e00ff}\u{e01f0}-\u{e0fff}]/gu;
const NOTHING_BUT_JOINTS = /^[\u200c\u200d\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]+$/u;
const STRAY =
  /(?<![^\u200c\u200d\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}])[\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]|(?<=[\u200c\u200d])[\u200c\u200d]/gu;
const SPACES = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g;
const SPECIAL = /^(<[|｜].*[|｜]>|<\/?think>)$/su;
const PART = "▏"; // In the place of the bytes of a character that stands in the token that ends it.

/** @param {string} character */
function code(character) {
  const hex = (character.codePointAt(0) ?? 0).toString(16);
  return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
}

/** @param {string} text */
function revealed(text) {
  if (NOTHING_BUT_JOINTS.test(text)) return Array.from(text, code).join("");
  return text.replace(STRAY, code).replace(HIDDEN, code);
}

// In the transcript: dots for a token of nothing but spaces, a sign and a real line break for a newline.
/** @param {string} text */
function shown(text) {
  if (text === "") return "∅";
  if (/^ +$/.test(text)) return "·".repeat(text.length);
  return revealed(text).replace(/\n/g, "⏎\n").replace(/\t/g, "⇥\t");
}

// On one line: spaces at the ends, and several on end, in sight.
/** @param {string} text */
function oneLine(text) {
  const dotted = revealed(text).replace(/^ +| +$| {2,}/g, (run) => "·".repeat(run.length));
  return dotted.replace(SPACES, "⍽").replace(/\n/g, "⏎").replace(/\t/g, "⇥") || "∅";
}

// The texts of consecutive tokens, each character that is spread over several of them in the last one.
/** @param {string[]} texts @param {string} mark */
function wholeTexts(texts, mark) {
  const found = [...texts];
  let first = 0;
  for (let last = 0; last <= found.length; last++) {
    if (last < found.length && found[last].includes("\\x")) continue;
    if (last > first + 1) found.splice(first, last - first, ...joinedTexts(found.slice(first, last), mark));
    first = last + 1;
  }
  return found;
}

/** @param {string[]} texts @param {string} mark */
function joinedTexts(texts, mark) {
  const units = texts.flatMap((text, token) =>
    Array.from(text.matchAll(/\\x([89a-f][0-9a-f])|./gsu), ([piece, hex]) => ({ token, piece, byte: parseInt(hex, 16) })),
  );
  const written = texts.map(() => "");
  for (let at = 0; at < units.length; ) {
    const group = units.slice(at, at + lengthFrom(units[at].byte));
    const character = characterOf(group);
    const from = group[0].token;
    const end = group[group.length - 1].token;
    if (character === null) written[from] += group[0].piece;
    else {
      for (let token = from; token < end; token++) written[token] += mark;
      written[end] += character;
    }
    at += character === null ? 1 : group.length;
  }
  return written;
}

// How many bytes a character has that begins with this one.
/** @param {number} byte */
function lengthFrom(byte) {
  if (!(byte >= 0xc2 && byte <= 0xf4)) return 1;
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** @param {Unit[]} group @returns {string | null} */
function characterOf(group) {
  if (group.length < 2 || group.some(({ byte }) => Number.isNaN(byte)) || group[0].token === group[group.length - 1].token) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(group, ({ byte }) => byte));
  } catch {
    return null;
  }
}

// What a token is told as: the text as it is written, and beside it, where bytes were put together, those of the token.
/** @param {string[]} texts @param {string[]} written @param {number} position */
function toldAs(texts, written, position) {
  const stored = texts[position];
  const own = written[position];
  if (own === stored) return oneLine(stored);
  const told = [];
  if (own !== PART) told.push(oneLine(own.endsWith(PART) ? own.slice(0, -PART.length) : own));
  if (own.endsWith(PART)) told.push(`part of ${oneLine(written.find((text, at) => at > position && text !== PART) ?? "")}`);
  return `${told.join(", ")} (bytes ${oneLine(stored)})`;
}

// A number with so many decimals, or with two digits where these would say less: as kthink_core/ui/parts/numerals.py.
/** @param {number} value @param {number} decimals */
function numeral(value, decimals) {
  const isSmall = value !== 0 && Math.abs(value) < 10 ** (1 - decimals);
  return isSmall ? value.toFixed(1 - Math.floor(Math.log10(Math.abs(value)))).replace(/\.?0+$/, "") : value.toFixed(decimals);
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {string | number} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = String(text);
  return made;
}

// Replaces what an element holds. If the focus was in it, the new button for the same takes it, else the transcript.
/** @param {View} view @param {HTMLElement} container @param {...HTMLElement} children */
function refill(view, container, ...children) {
  const active = view.shadow.activeElement;
  const hadFocus = container.contains(active);
  container.replaceChildren(...children);
  if (!hadFocus || !(active instanceof HTMLElement)) return;
  const { feature, kind } = active.dataset;
  const buttons = [...container.querySelectorAll("button")];
  const again = buttons.find((button) => button.dataset.feature === feature && button.dataset.kind === kind);
  (again ?? view.scroller).focus({ preventScroll: true });
}

// What an event is meant for, or the nearest around it, that matches.
/** @param {Event} event @param {string} selector @returns {HTMLElement | null} */
function hit({ target }, selector) {
  return target instanceof Element ? target.closest(selector) : null;
}

// A button whose sign says little: its label says it to a screen reader and under the pointer.
/** @param {string} className @param {string} sign @param {string} label */
function signButton(className, sign, label) {
  const made = element("button", className, sign);
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  return made;
}
