// What is found in a trace, and the steps that it is cut into.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";
import { SENT, floats, small } from "./traces.mjs";

const { cutAlike, extentOf, foundText, hitsOf, readFacts, readOutline, readSought, standingOut, stepAt } = await load(
  TRANSCRIPT, "cutAlike", "extentOf", "foundText", "hitsOf", "readFacts", "readOutline", "readSought", "standingOut", "stepAt",
);
const NOTHING = { outline: null, sought: null };
const found = (texts, typed) =>
  hitsOf(readFacts({ ...SENT, ...NOTHING, texts, bands: [{ segment: "think", tokens: texts.length, counts: true }] }), readSought(typed));

test("what is typed is a text, unless it is a token's id or a feature", () => {
  const read = (typed) => {
    const { kind, number, text } = readSought(typed) ?? { kind: null };
    return kind === "text" ? text : [kind, number];
  };
  for (const [typed, sought] of [
    ["wait", "wait"], [" wait", " wait"], ['"#12"', "#12"], ['"', '"'], ["#x", "#x"], ["#1 2", "#1 2"], ["feature: wait", "feature: wait"],
    ["#12", ["id", 12]], ["id:0", ["id", 0]], [" ID: 7 ", ["id", 7]],
    ["feature:767", ["feature", 767]], ["f:3", ["feature", 3]], ["Feature: 767 · wait, but", ["feature", 767]], ["", [null, undefined]],
  ]) {
    assert.deepEqual(read(typed), sought, typed);
  }
});

test("a text is found over the borders of tokens, in any letters, in whatever white space", () => {
  const texts = ["Wa", "it", ",", " wait", "\n\n", "AWAITED", " a", ".*", ""];
  assert.deepEqual(found(texts, "wait"), [[0, 1], [3, 3], [5, 5]]);
  assert.deepEqual(found(texts, ", wait a"), [[2, 5]]);
  assert.deepEqual(found(texts, "a.*"), [[6, 7]]);
  assert.deepEqual(found(texts, "absent"), []);
  assert.deepEqual(found(["İ", "i", "ß", "x"], "x"), [[3, 3]]); // letters that grow when they are made small
});

test("a character of several tokens is found in the token that ends it", () => {
  assert.deepEqual(found(["x", " \\xe2", "\\x88", "\\x9a", "2"], "√2"), [[3, 4]]);
});

test("a token is found by its id, a feature where it fires", () => {
  const facts = readFacts({ ...SENT, ...NOTHING });
  assert.deepEqual(hitsOf(facts, readSought("#4")), [[3, 3]]);
  assert.deepEqual(hitsOf(facts, readSought("feature:7")), [[0, 0], [2, 2], [5, 5]]);
  assert.deepEqual(hitsOf(facts, readSought("feature:1")), []);
});

test("beside what is sought stands how many places there are, and of a feature that is none, which there are", () => {
  const told = (typed, last, hits = 0, now = null) =>
    foundText(readFacts({ ...SENT, ...NOTHING, last }), readSought(typed), hits, now);
  assert.equal(told("feature:12", 11), "This SAE has features 0 to 11");
  assert.equal(told("feature:11", 11), "none yet"); // it is being asked for
  assert.equal(told("feature:12", null), "none yet");
  assert.deepEqual([told("feature:7", 11, 3), told("feature:7", 11, 3, 1), told("feature:9", 11, 2)], ["3", "2 of 3", "2 or more"]);
  assert.deepEqual([told("#12", 11), told("absent", 11), told("", 11)], ["none", "none", ""]);
});

const steps = (...firsts) => readOutline({
  firsts: small(...firsts), counts: small(...firsts.map((_, step) => (step === 1 ? 2 : 0))), features: small(9, 7),
  positions: small(3, 2), lifts: floats(4, 2), lows: floats(2, 1), highs: floats(8, 4),
});

test("a step has what lies between its first position and the next one's", () => {
  const outline = steps(0, 2, 5);
  assert.deepEqual([0, 1, 2, 4, 5, 9].map((position) => stepAt(outline, position)), [0, 0, 1, 1, 2, 2]);
  assert.deepEqual([0, 1, 2].map((step) => extentOf({ length: 6 }, outline, step)), [[0, 1], [2, 4], [5, 5]]);
  assert.deepEqual(standingOut(outline, 0), []);
  assert.deepEqual(standingOut(outline, 1), [
    { feature: 9, positions: 3, lift: 4, low: 2, high: 8 }, { feature: 7, positions: 2, lift: 2, low: 1, high: 4 },
  ]);
});

test("tokens stay where they are cut as before", () => {
  assert.equal(cutAlike(null, null), Infinity);
  assert.equal(cutAlike(null, steps(0)), 0);
  assert.equal(cutAlike(steps(0, 2, 5), steps(0, 2, 5)), Infinity);
  assert.equal(cutAlike(steps(0, 2), steps(0, 2, 5)), 5); // one more has begun
  assert.equal(cutAlike(steps(0, 2, 5), steps(0, 2, 6)), 5); // one ends later
});
