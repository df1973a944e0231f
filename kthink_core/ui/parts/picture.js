// PNG and SVG of the chart above the buttons, made from what the browser has drawn. Nothing is asked of the network.

/** @typedef {{ name: string, about: string }} Stamped */

const MARGIN = 8; // pixels around the chart
/** @type {WeakMap<ShadowRoot, Stamped>} What was said last of the chart above a row of buttons. */
const latest = new WeakMap();
const ARROW = "M12 4v11m-5-5 5 5 5-5M5 17v3h14v-3";

/** @param {Node} host */
function chartAbove(host) {
  const charts = [...document.querySelectorAll("[data-testid=stVegaLiteChart]")];
  return charts.filter((chart) => chart.compareDocumentPosition(host) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1);
}

// What the chart stands on: pictures are not transparent, since their text has the colour of the app's theme.
/** @param {Element} chart */
function background(chart) {
  for (let element = /** @type {Element | null} */ (chart); element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (colour !== "transparent" && !colour.endsWith(", 0)")) return colour;
  }
  return "white";
}

/**
 * @param {SVGSVGElement} drawn
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 * @param {Stamped} data
 */
function standAlone(drawn, width, height, colour, data) {
  const copy = /** @type {SVGSVGElement} */ (drawn.cloneNode(true));
  set(copy, { xmlns: SPACE, width, height, viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}` });
  const paper = document.createElementNS(SPACE, "rect");
  set(paper, { x: -MARGIN, y: -MARGIN, width, height, fill: colour });
  const about = document.createElementNS(SPACE, "desc");
  about.textContent = data.about;
  copy.prepend(about, paper);
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
}

/** @param {Element} element @param {Record<string, string | number>} attributes */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}

/** @param {Blob} svg @param {number} width @param {number} height */
async function painted(svg, width, height) {
  const address = URL.createObjectURL(svg);
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * width;
  canvas.height = 2 * height;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return asPng(canvas);
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} */
function asPng(canvas) {
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject()), "image/png"));
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Returns what went wrong, if anything did.
/** @param {Node} host @param {"png" | "svg"} kind @param {Stamped} data */
async function picture(host, kind, data) {
  const chart = chartAbove(host);
  const drawn = /** @type {SVGSVGElement | null | undefined} */ (chart?.querySelector("svg.marks"));
  const canvas = /** @type {HTMLCanvasElement | null | undefined} */ (chart?.querySelector("canvas.marks"));
  if (chart && drawn) {
    const { width: inner, height: tall } = drawn.viewBox.baseVal ?? drawn.getBoundingClientRect();
    const [width, height] = [inner + 2 * MARGIN, tall + 2 * MARGIN];
    const svg = standAlone(drawn, width, height, background(chart), data);
    save(kind === "svg" ? svg : await painted(svg, width, height), `${data.name}.${kind}`);
  } else if (canvas && kind === "png") {
    save(await asPng(canvas), `${data.name}.png`);
  } else {
    return canvas ? "Too many points for an SVG" : "The chart is not drawn yet";
  }
  return "";
}

/** @param {Component<Stamped>} component */
export default function ({ data, parentElement }) {
  const row = newControls(parentElement);
  if (row) {
    for (const kind of /** @type {const} */ (["png", "svg"])) {
      const name = kind.toUpperCase();
      addButton(row, name, `Save the chart above as ${name}`, ARROW).addEventListener("click", async () => {
        status.textContent = await picture(parentElement.host, kind, latest.get(parentElement) ?? data);
      });
    }
    const status = addStatus(row);
  }
  latest.set(parentElement, data);
}
