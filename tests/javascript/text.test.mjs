// How a token is written.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";

const { oneLine, shown } = await load(TRANSCRIPT, "oneLine", "shown");

for (const [text, drawn, told] of [
  ["", "∅", "∅"],
  [" ", "·", "·"],
  ["   ", "···", "···"],
  [" the", " the", "·the"],
  ["\n\n", "⏎\n⏎\n", "⏎⏎"],
  ["a\tb", "a⇥\tb", "a⇥b"],
  ["\u00a0", "\u00a0", "⍽"],
  ["\u0000", "\\u0000", "\\u0000"],
  ["a\u202eb", "a\\u202eb", "a\\u202eb"],
  ["\u{e0041}", "\\u{e0041}", "\\u{e0041}"],
  ["\ud800", "\\ud800", "\\ud800"],
  ["\u200d", "\\u200d", "\\u200d"],
  ["👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"],
  ["<b>&lt;</b>", "<b>&lt;</b>", "<b>&lt;</b>"],
]) {
  test(`${JSON.stringify(text)} is written ${JSON.stringify(drawn)}`, () => {
    assert.equal(shown(text), drawn);
    assert.equal(oneLine(text), told);
  });
}
