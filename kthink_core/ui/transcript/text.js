// How a token is written. Every text is set through textContent: nothing that a model wrote is ever read as HTML.

const TITLES = { prompt: "Prompt", think: "Thinking", answer: "Answer" };

// Controls but newline and tab, halves of surrogate pairs, and all that prints as nothing or turns the direction of the
// text around it. The joiners stay, emoji and Persian need them, and so do the Arabic signs that do print.
const HIDDEN = /(?![\t\n\u200c\u200d\u0600-\u0605\u06dd\u08e2])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const NOTHING_BUT_JOINTS = /^[\u200c\u200d\ufe00-\ufe0f]+$/;
const SPECIAL = /^(<[|｜].*[|｜]>|<\/?think>)$/su;

function code(mark) {
  const hex = mark.codePointAt(0).toString(16);
  return mark.length > 1 ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
}

function withoutHidden(text) {
  if (text === "") return "∅";
  if (NOTHING_BUT_JOINTS.test(text)) return Array.from(text, code).join("");
  return text.replace(HIDDEN, code);
}

// In the transcript: dots for a token of nothing but spaces, a sign and a real line break for a newline.
function shown(text) {
  if (/^ +$/.test(text)) return "·".repeat(text.length);
  return withoutHidden(text).replace(/\n/g, "⏎\n").replace(/\t/g, "⇥\t");
}

// In the tooltip: all whitespace in sight, on one line.
function oneLine(text) {
  return withoutHidden(text).replace(/ /g, "·").replace(/\u00a0/g, "⍽").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Replaces what an element holds. If the focus was in it, the new button for the same takes it, else the transcript.
function refill(view, container, ...children) {
  const active = view.shadow.activeElement;
  const hadFocus = container.contains(active);
  container.replaceChildren(...children);
  if (!hadFocus) return;
  const { feature, kind } = active.dataset;
  const buttons = [...container.querySelectorAll("button")];
  const again = buttons.find((button) => button.dataset.feature === feature && button.dataset.kind === kind);
  (again ?? view.scroller).focus({ preventScroll: true });
}

// A button whose sign says little: its label says it to a screen reader and under the pointer.
function signButton(className, sign, label) {
  const made = element("button", className, sign);
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  return made;
}
