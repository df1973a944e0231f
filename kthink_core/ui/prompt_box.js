// A text box that shows its tokens while one types. Texts are set through textContent and value only.

const PAUSE = 200; // milliseconds after the last key before the text is sent

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function visible(text) {
  return text.replace(/ /g, "·").replace(/\n/g, "⏎").replace(/\t/g, "⇥") || "∅";
}

function build(root, setStateValue) {
  const label = element("label", "label", "Prompt");
  const box = element("textarea", "box");
  box.rows = 5;
  box.placeholder = "Type a problem, or take an example.";
  label.append(box);
  const count = element("div", "count");
  count.setAttribute("role", "status");
  const tokens = element("div", "tokens");
  tokens.setAttribute("aria-label", "The prompt as it will be sent, token by token");
  root.append(label, count, tokens);
  let timer;
  const send = () => {
    clearTimeout(timer);
    setStateValue("text", box.value);
  };
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(send, PAUSE);
  });
  box.addEventListener("blur", () => {
    if (box.value !== root.sent) send();
  });
}

export default function ({ data, parentElement, setStateValue }) {
  let root = parentElement.querySelector(".prompt");
  if (!root) {
    root = element("div", "prompt");
    parentElement.append(root);
    build(root, setStateValue);
  }
  const box = root.querySelector(".box");
  // The text in the box is the person's, except where an example was just taken.
  if (root.dataset.example !== String(data.example)) {
    root.dataset.example = String(data.example);
    box.value = data.text;
  }
  root.sent = data.text;
  const count = root.querySelector(".count");
  count.textContent = data.message ?? `${data.tokens.length} of at most ${data.limit} tokens, template included`;
  count.classList.toggle("wrong", Boolean(data.message) || data.tokens.length > data.limit);
  root.querySelector(".tokens").replaceChildren(
    ...data.tokens.map(([text, id, given]) => {
      const token = element("span", given ? "token template" : "token", visible(text));
      token.title = `id ${id}${given ? ", from the template" : ""}`;
      return token;
    }),
  );
}
