// A row of small buttons that look like Streamlit's own tertiary ones (controls.css).

const SPACE = "http://www.w3.org/2000/svg";

// The row, to be filled; null where it stands already.
/** @param {ShadowRoot} parent */
function newControls(parent) {
  if (parent.querySelector(".controls")) return null;
  const row = document.createElement("div");
  row.className = "controls";
  parent.append(row);
  return row;
}

// `path` draws the icon before the label, on a field of 24 by 24.
/** @param {HTMLElement} row @param {string} label @param {string} title @param {string} [path] */
function addButton(row, label, title, path) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = title;
  if (path) button.append(icon(path));
  button.append(label);
  row.append(button);
  return button;
}

/** @param {string} path */
function icon(path) {
  const drawing = document.createElementNS(SPACE, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SPACE, "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

// What came of a click, said to a screen reader, too.
/** @param {HTMLElement} row */
function addStatus(row) {
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  row.append(status);
  return status;
}
