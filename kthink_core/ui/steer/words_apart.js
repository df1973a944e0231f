// Two texts as one: what the second lacks and what it has instead. Every text is set through textContent.

/**
 * @typedef {{ kind: "same" | "removed" | "added", text: string }} Stretch
 * @typedef {{ stretches: Stretch[], label: string }} Sent
 */

const TAGS = /** @type {const} */ ({ same: "span", removed: "del", added: "ins" });
const SIGNS = { same: "", removed: "−", added: "+" };

/** @param {Stretch} stretch */
function drawn({ kind, text }) {
  const made = element(TAGS[kind], kind, revealed(text));
  if (SIGNS[kind]) {
    const sign = element("span", "sign", SIGNS[kind]);
    sign.setAttribute("aria-hidden", "true");
    made.prepend(sign);
  }
  return made;
}

/** @param {Component<Sent>} component */
export default function ({ data, parentElement }) {
  let root = /** @type {HTMLElement | null} */ (parentElement.querySelector(".apart"));
  if (!root) {
    root = element("div", "apart");
    root.tabIndex = 0;
    root.setAttribute("role", "region");
    parentElement.append(root);
  }
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(...data.stretches.map(drawn));
}
