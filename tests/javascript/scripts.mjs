// The scripts of the pages, for tests in node: what a page puts together as one module is read from its files and
// imported as one, so that each test calls the very functions that the browser runs.
//
// A new test is a file `NAME.test.mjs` here, of node's own runner (node:test, node:assert); tests/test_javascript.py runs
// each. There is no document here: what draws is tested in the browser (tests/test_browser*.py); how texts and numbers are
// written, which Python does alike, in tests/test_token_texts.py.

import { readFileSync } from "node:fs";

export const UI = new URL("../../kthink_core/ui/", import.meta.url);
export const TRANSCRIPT = [
  "parts/roving.js",
  ...[
    ...["text", "tracks", "tokens", "shading", "strip", "alternatives", "measures", "tooltip", "features", "toolbar"],
    ...["span", "touch", "steps", "outline", "find", "keys", "main"],
  ].map((name) => `transcript/${name}.js`),
];

// Functions and constants by name, from files put together in this order.
export async function load(files, ...names) {
  const sources = files.map((file) => readFileSync(new URL(file, UI), "utf8"));
  const module = `${sources.join("\n")}\nexport { ${names.join(", ")} };`;
  return import(`data:text/javascript;base64,${Buffer.from(module).toString("base64")}`);
}
