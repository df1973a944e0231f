// A saved page: draws what lies in its block of JSON, stands in for what Streamlit does for the components, and writes
// files of the data. Nothing is fetched. Every text is set through textContent, as in transcript/text.js.

/** @typedef {string | number | boolean | null} Cell */
/** @typedef {{ name: string, title: string, decimals: number | null, unit: string, bar: number | null, token: boolean }} Column */
/** @typedef {{ name: string, columns: string[], rows: Cell[][] }} Filed */
/** @typedef {Filed & { title: string, note: string, folded: boolean, shown: Column[] }} Listed */
/** @typedef {Filed & { title: string, note: string, inferences: number[], verdicts: string[],
 *   features: { feature: number, label: string }[] }} Matrix */
/** @typedef {"h2" | "h3"} Heading */
/** @typedef {{ kind: string } & Record<string, any>} Part */
/** @typedef {{ title: string, label: string, warnings: string[], view: Record<string, string>, again: string,
 *   facts: Record<string, string>[], parts: Part[] }} Sheet */

/** @param {string} id */
const within = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const block = (id) => JSON.parse(within(id).textContent);
/** @type {Sheet} */
const sheet = block("sheet");
/** @type {Record<string, string>} */
const styles = block("styles");
/** @type {Record<string, (component: Component<any>) => void>} */
const components = /** @type {any} */ (globalThis).kthinkParts ?? {};

/** @param {string} text */
function tellReader(text) {
  within("status").textContent = text;
}

// What a place of the app is called that this page does not hold.
/** @param {string} page @param {Record<string, string | number>} place */
function addressOf(page, place) {
  const parameters = new URLSearchParams(sheet.view);
  for (const name of ["also", "span", "position", "locked"]) parameters.delete(name);
  for (const [name, value] of Object.entries(place)) parameters.set(name, String(value));
  return `${page}?${parameters}`;
}

/** @param {string} kind @param {unknown} data */
function mounted(kind, data) {
  const host = element("div", "host");
  const shadow = host.attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(styles[kind]);
  shadow.adoptedStyleSheets = [style];
  /** @param {string} _ @param {any} value */
  const told = (_, value) => follow(value);
  components[kind]({ data, parentElement: shadow, setTriggerValue: told, setStateValue: told });
  dropInferenceKeys(shadow);
  return host;
}

// Of what was chosen in a component, only what leads elsewhere is for the page: the rest the component has shown.
/** @param {{ feature?: number | null, inference?: number, position?: number }} chosen */
function follow({ feature, inference, position }) {
  if (inference !== undefined && position !== undefined) {
    tellReader(`In the app: ${addressOf("inference", { inference, position })}`);
  } else if (typeof feature === "number") openFeature(feature);
}

/** @param {number} feature */
function openFeature(feature) {
  const row = /** @type {HTMLElement | null} */ (document.querySelector(`tr[data-feature="${feature}"]`));
  if (row) {
    row.focus();
    row.scrollIntoView({ block: "center" });
  }
  tellReader(`${row ? "" : `Feature ${feature} is not listed on this page. `}In the app: ${addressOf("feature", { feature })}`);
}

// There is no next inference here.
/** @param {ShadowRoot} shadow */
function dropInferenceKeys(shadow) {
  for (const term of shadow.querySelectorAll(".help dt")) {
    if (term.textContent !== "J K") continue;
    term.nextElementSibling?.remove();
    term.remove();
  }
}

/** @param {Cell} cell @param {Column} column */
function written(cell, column) {
  if (cell === null) return "–";
  if (typeof cell !== "number") return column.token ? oneLine(String(cell)) : revealed(String(cell));
  const number = column.unit === "%" ? 100 * cell : cell;
  const digits = column.decimals === null ? number.toLocaleString("en") : numeral(number, column.decimals);
  return column.unit ? `${digits} ${column.unit}` : digits;
}

/** @param {Cell} cell */
function isFigure(cell) {
  return typeof cell === "number" || cell === null;
}

/** @param {Cell} cell @param {Column} column */
function cellOf(cell, column) {
  const isNumber = isFigure(cell) && /^(feature|inference|position|token_id|rank|problem|.*_position)$/.test(column.name);
  const made = element("td", isFigure(cell) ? "figure" : column.token ? "token" : "", isNumber ? (cell ?? "–") : written(cell, column));
  if (column.bar && typeof cell === "number") {
    made.classList.add("bar");
    made.style.setProperty("--part", String(Math.max(0, Math.min(cell / column.bar, 1))));
  }
  return made;
}

/** @param {string} title @param {HTMLElement} content */
function scrolling(title, content) {
  const made = element("div", "scroll");
  made.tabIndex = 0;
  made.setAttribute("role", "region");
  made.setAttribute("aria-label", title);
  made.append(content);
  return made;
}

/** @param {Listed} part @param {Heading} heading */
function listed(part, heading) {
  const table = element("table", "listed");
  const head = table.createTHead().insertRow();
  for (const { title, name } of part.shown) {
    const of = part.columns.indexOf(name);
    const made = element("th", part.rows.every((row) => isFigure(row[of])) ? "figure" : "", title);
    made.scope = "col";
    head.append(made);
  }
  const body = table.createTBody();
  const places = part.shown.map(({ name }) => part.columns.indexOf(name));
  const ofFeature = part.columns.indexOf("feature");
  for (const cells of part.rows) {
    const row = body.insertRow();
    if (ofFeature >= 0) {
      row.dataset.feature = String(cells[ofFeature]);
      row.tabIndex = -1;
    }
    row.append(...part.shown.map((column, at) => cellOf(cells[places[at]], column)));
  }
  const content = [element("p", "note", part.note), scrolling(part.title, table), files(part)];
  if (!part.folded) return [element(heading, "", part.title), ...content];
  const fold = element("details", "");
  fold.append(element("summary", "", part.title), ...content);
  return [fold];
}

/** @param {Filed & { title: string }} part @param {Heading} heading */
function histogram(part, heading) {
  const bins = element("div", "bins");
  bins.setAttribute("role", "img");
  const most = part.rows.reduce((largest, row) => Math.max(largest, Number(row[2])), 1);
  const [first, last] = [part.rows[0], part.rows[part.rows.length - 1]];
  const [low, high] = [numeral(Number(first[0]), 2), numeral(Number(last[1]), 2)];
  bins.setAttribute("aria-label", `${part.rows.length} bins from ${low} to ${high}, at most ${most} in one; counts on a log scale`);
  for (const [from, to, count] of part.rows.map((row) => row.map(Number))) {
    const bar = element("span", "");
    bar.title = `${numeral(from, 2)} to ${numeral(to, 2)}: ${count}`;
    bar.style.setProperty("--part", String(Math.log(count + 1) / Math.log(most + 1)));
    bins.append(bar);
  }
  const ends = element("p", "note ends");
  ends.append(element("span", "", low), element("span", "", `at most ${most} in a bin, log scale`), element("span", "", high));
  return [element(heading, "", part.title), bins, ends, files(part)];
}

/** @param {Matrix} part @param {Heading} heading */
function matrix(part, heading) {
  const table = element("table", "matrix");
  table.setAttribute("role", "grid");
  const told = element("p", "told note", "Point at a cell, or go through the cells with the arrow keys.");
  const head = table.createTHead().insertRow();
  head.append(element("td", ""));
  part.inferences.forEach((inference, at) => {
    const made = element("th", "", `${part.verdicts[at]} ${inference}`);
    made.scope = "col";
    head.append(made);
  });
  const at = Object.fromEntries(part.columns.map((name, place) => [name, place]));
  const cells = new Map(part.rows.map((row) => [`${row[at.feature]} ${row[at.inference]}`, row]));
  const most = part.rows.reduce((largest, row) => Math.max(largest, Number(row[at.max_activation])), 0) || 1;
  const body = table.createTBody();
  for (const { feature, label } of part.features) {
    const row = body.insertRow();
    row.dataset.locks = String(feature);
    const name = element("th", "");
    name.scope = "row";
    const button = element("button", "", label ? `${feature} · ${revealed(label)}` : feature);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    name.append(button);
    row.append(name);
    part.inferences.forEach((inference) => {
      const cell = row.insertCell();
      const found = cells.get(`${feature} ${inference}`);
      if (!found) return;
      const maximum = Number(found[at.max_activation]);
      cell.tabIndex = -1;
      cell.style.setProperty("--part", (0.06 + 0.94 * (maximum / most) ** 0.7).toFixed(3));
      cell.setAttribute(
        "aria-label",
        `Feature ${feature}${label ? ` ${revealed(label)}` : ""}, inference ${inference}: maximum ${numeral(maximum, 3)}, ` +
          `${found[at.positions]} positions, peak at ${found[at.peak_position]}`,
      );
    });
  }
  lockRows(table, told);
  const region = scrolling(part.title, table);
  region.tabIndex = -1; // its cells and buttons are stops
  return [element(heading, "", part.title), element("p", "note", part.note), told, region, files(part)];
}

const CELLS = "td[aria-label]";

/** @param {HTMLTableElement} table @param {HTMLElement} told */
function lockRows(table, told) {
  /** @type {string | null} */
  let locked = null;
  /** @param {string | undefined | null} feature */
  const lock = (feature) => {
    locked = feature === undefined || feature === locked ? null : feature;
    table.classList.toggle("locked", locked !== null);
    for (const row of table.tBodies[0].rows) {
      const isLit = row.dataset.locks === locked;
      row.classList.toggle("lit", isLit);
      row.classList.toggle("other", !isLit);
      row.querySelector("button")?.setAttribute("aria-pressed", String(isLit));
    }
  };
  /** @param {Event} event */
  const tell = (event) => {
    const label = hit(event, CELLS)?.getAttribute("aria-label");
    if (label) told.textContent = label;
  };
  table.addEventListener("mouseover", tell);
  table.addEventListener("focusin", tell);
  table.addEventListener("click", (event) => {
    if (hit(event, `button, ${CELLS}`)) lock(hit(event, "tr")?.dataset.locks);
  });
  table.addEventListener("keydown", (event) => {
    if (event.key === "Escape") lock(locked);
    else if (event.key === "Enter" && hit(event, CELLS)) lock(hit(event, "tr")?.dataset.locks);
  });
  rove(table, CELLS);
  keepOneStop(table, CELLS);
}

// Files. As kthink_core/cells.py: nothing that a model or a person wrote is computed by a spreadsheet.
const FORMULA = /^'*[=+\-@\t\r]/;
const FORMULA_PART = /(?<=[,;])(?='*[=+\-@\t\r])/g;

/** @param {Cell} cell */
function csvCell(cell) {
  if (cell === null) return "";
  if (typeof cell !== "string") return String(cell);
  return `"${(FORMULA.test(cell) ? `'${cell}` : cell).replaceAll('"', '""')}"`;
}

/** @param {Filed} part */
function csv({ name, columns, rows }) {
  const facts = sheet.facts.flatMap((one) => Object.entries({ query: name, ...one }));
  const comments = facts.map(([fact, value]) => `# ${`${fact}: ${value}`.replace(FORMULA_PART, "'")}`);
  return `${[...comments, columns.map(csvCell).join(","), ...rows.map((row) => row.map(csvCell).join(","))].join("\n")}\n`;
}

/** @param {Filed} part */
function json({ name, columns, rows }) {
  const records = rows.map((row) => Object.fromEntries(columns.map((column, at) => [column, row[at]])));
  return `${JSON.stringify({ query: name, facts: sheet.facts, rows: records }, null, 1)}\n`;
}

/** @param {string} name @param {string} suffix @param {string} text */
function download(name, suffix, text) {
  const link = document.createElement("a");
  const address = URL.createObjectURL(new Blob([text], { type: suffix === "csv" ? "text/csv" : "application/json" }));
  link.href = address;
  link.download = `${name.replace(/[^\w.=]+/g, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 100) || "data"}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {string} title @param {string} described @param {() => void} act */
function fileButton(title, described, act) {
  const made = element("button", "", title);
  made.type = "button";
  made.setAttribute("aria-label", described);
  made.addEventListener("click", act);
  return made;
}

/** @param {Filed} part */
function files(part) {
  const made = element("div", "files");
  const name = `${sheet.view.experiment}-${part.name}`;
  made.append(
    fileButton("CSV", `CSV of ${part.name}`, () => download(name, "csv", csv(part))),
    fileButton("JSON", `JSON of ${part.name}`, () => download(name, "json", json(part))),
  );
  return made;
}

// Parts that are not in a group have the headings that groups have.
/** @param {Part} part @param {Heading} [heading] @returns {HTMLElement[]} */
function drawn(part, heading = "h2") {
  if (part.kind === "lines") return part.lines.map((/** @type {string} */ line) => element("p", "", revealed(line)));
  if (part.kind === "table") return listed(/** @type {any} */ (part), heading);
  if (part.kind === "histogram") return histogram(/** @type {any} */ (part), heading);
  if (part.kind === "matrix") return matrix(/** @type {any} */ (part), heading);
  if (part.kind === "group") {
    const made = element("section", "");
    made.append(element("h2", "", revealed(part.title)));
    if (part.note) made.append(element("p", "note", part.note));
    made.append(...part.parts.flatMap((/** @type {Part} */ one) => drawn(one, "h3")));
    return [made];
  }
  if (part.kind === "sides") {
    const made = element("div", "sides");
    for (const side of part.sides) {
      const column = element("div", "");
      column.append(...side.flatMap((/** @type {Part} */ one) => drawn(one, heading)));
      made.append(column);
    }
    return [made];
  }
  return [mounted(part.kind, part.data)];
}

function provenance() {
  const made = element("section", "");
  made.append(element("h2", "", "Where this is from"), element("p", "", "The view again, from the experiment itself:"));
  const again = element("p", "");
  again.append(element("code", "", sheet.again));
  made.append(again);
  for (const facts of sheet.facts) {
    const table = element("table", "listed");
    for (const [name, value] of Object.entries(facts)) {
      const row = table.insertRow();
      const head = element("th", "", name);
      head.scope = "row";
      row.append(head, element("td", "", revealed(value)));
    }
    made.append(scrolling(`Where it is from: ${facts.experiment}`, table));
  }
  const all = element("div", "files");
  all.append(fileButton("All data (JSON)", "All data of this page as JSON", () => download(sheet.title, "json", JSON.stringify(sheet, null, 1))));
  made.append(all);
  return made;
}

const page = within("page");
page.append(element("h1", "", sheet.title));
if (sheet.label) page.append(element("p", "label", revealed(sheet.label)));
const [facts] = sheet.facts;
page.append(element("p", "note", `${facts.experiment} · model ${facts.model ?? "unknown"} · ${facts.inferences} inferences · scope ${facts.scope} · saved ${facts.saved} by ${facts.app}`));
for (const warning of sheet.warnings) page.append(element("p", "warning", revealed(warning)));
page.append(...sheet.parts.flatMap((part) => drawn(part)), provenance());

export {};
