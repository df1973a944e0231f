// Copies the address as the browser shows it: only the browser knows under which name it reached the app.

const LINKED = "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1";

// The clipboard is for https and localhost only; elsewhere a selected text can still be copied.
/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not allowed: the other way may be
    }
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("readonly", "");
  field.style.cssText = "position: fixed; opacity: 0";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

/** @param {Component<null>} component */
export default function ({ parentElement }) {
  const row = newControls(parentElement);
  if (!row) return;
  const title = "Copy the address of this view: opened elsewhere, it shows the same";
  const button = addButton(row, "Copy link", title, LINKED);
  const status = addStatus(row);
  /** @type {number | undefined} */
  let clearing;
  button.addEventListener("click", async () => {
    const copied = await copy(window.location.href);
    button.focus();
    status.textContent = copied ? "Copied" : "Not allowed here: copy the address bar";
    clearTimeout(clearing);
    clearing = setTimeout(() => (status.textContent = ""), 4000);
  });
}
