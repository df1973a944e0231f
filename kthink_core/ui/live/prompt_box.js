// A text box that shows its tokens while one types, written as the transcript's tooltip writes them (transcript/text.js).

/**
 * A token as text, id, and whether it was typed; else it comes from the template.
 * @typedef {[string, number, boolean]} Token
 * @typedef {{ taken: number, text: string, tokens: Token[], limit: number, message: string | null, ready: boolean }} Shown
 * @typedef {HTMLElement & Record<"tell" | "send", (name: string, value: unknown) => void>} Root
 */

const PAUSE = 200; // milliseconds after the last key before the text is sent

/** @returns {Root} */
function build() {
  const root = Object.assign(element("div", "prompt"), { tell: nobody, send: nobody });
  const label = element("label", "label", "Prompt");
  const box = element("textarea", "box");
  box.rows = 4;
  box.placeholder = "Type a problem, or take an example.";
  label.append(box);
  const count = element("div", "count");
  count.setAttribute("role", "status");
  const tokens = element("div", "tokens");
  tokens.tabIndex = 0;
  tokens.setAttribute("role", "group");
  tokens.setAttribute("aria-label", "The prompt as it will be sent, token by token");
  const run = element("button", "run", "Run");
  run.title = "Ctrl+Enter";
  const foot = element("div", "foot");
  const ids = element("label", "ids", "ids");
  const shown = element("input", "switch");
  shown.type = "checkbox";
  ids.prepend(shown);
  shown.addEventListener("change", () => tokens.classList.toggle("with-ids", shown.checked));
  foot.append(run, count, ids);
  const writing = element("div", "writing");
  writing.append(label, foot);
  root.append(writing, tokens);
  /** @type {number | undefined} */
  let timer;
  const send = () => {
    clearTimeout(timer);
    root.send("run", box.value);
  };
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => root.tell("text", box.value), PAUSE);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !run.disabled) send();
  });
  run.addEventListener("click", send);
  return root;
}

/** @type {(name: string, value: unknown) => void} */
function nobody() {}

/** @param {Component<Shown>} component */
export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  let root = /** @type {Root | null} */ (parentElement.querySelector(".prompt"));
  if (!root) {
    root = build();
    parentElement.append(root);
  }
  root.tell = setStateValue;
  root.send = setTriggerValue;
  // The text in the box is the person's, except where an example was just taken.
  if (root.dataset.taken !== String(data.taken)) {
    root.dataset.taken = String(data.taken);
    /** @type {HTMLTextAreaElement} */ (root.querySelector(".box")).value = data.text;
  }
  /** @type {HTMLButtonElement} */ (root.querySelector(".run")).disabled = !data.ready;
  const count = /** @type {HTMLElement} */ (root.querySelector(".count"));
  count.textContent = data.message ?? `${data.tokens.length} of at most ${data.limit} tokens`;
  count.classList.toggle("wrong", Boolean(data.message));
  const texts = data.tokens.map(([text]) => text);
  const written = wholeTexts(texts, PART);
  root.querySelector(".tokens")?.replaceChildren(
    ...data.tokens.map(([text, id, typed], index) => {
      const token = element("span", typed ? "token" : "token template", oneLine(written[index]));
      token.dataset.id = String(id);
      token.title = `${toldAs(texts, written, index)}\nid ${id}${typed ? "" : ", from the template"}`;
      return token;
    }),
  );
}
