// What the list and the tooltip say of features.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";
import { SENT } from "./traces.mjs";

const { brief, firing, largest, measureOf, partOf, percent, readFacts, same, standingIn, tell, trackOf } = await load(
  TRANSCRIPT, "brief", "firing", "largest", "measureOf", "partOf", "percent", "readFacts", "same", "standingIn", "tell",
  "trackOf",
);

test("a share has a decimal, a small one two digits", () => {
  assert.deepEqual([0, 0.4127, 1, 0.00031].map(percent), ["0.0 %", "41.3 %", "100.0 %", "0.031 %"]);
});

test("how many times as often has two digits, from a hundred on whole ones", () => {
  assert.deepEqual([0.123, 1, 3.75, 99.4, 1234.5].map(brief), ["0.12", "1", "3.8", "99", "1,235"]);
});

test("what fires at a token, strongest first: what was sent of it, and each lit feature", () => {
  const view = { facts: readFacts(SENT), features: [7], lock: null, pointed: null };
  assert.deepEqual(firing(view, 2), [{ feature: 7, activation: 4 }, { feature: 9, activation: 2 }]);
  assert.deepEqual(firing(view, 0), [{ feature: 7, activation: 16 }, { feature: 9, activation: 8 }]);
  assert.deepEqual(firing({ ...view, pointed: 9 }, 5), []);
});

test("lines under features are parts of the largest", () => {
  assert.equal(largest({ ranked: [{ maximum: 2 }, { maximum: 5 }] }), 5);
  assert.equal(largest({ ranked: [] }), 1);
  const standing = { span: [1, 2], rows: [{ low: 4 }, { low: 1 }] };
  assert.equal(partOf({ standing }, standing.rows[1]), 0.25);
  assert.equal(partOf({ standing }, undefined), 0);
});

test("what stands out is that of the marked span, none of another", () => {
  const standing = { span: [1, 2], rows: [] };
  assert.equal(standingIn({ facts: { standing }, span: [1, 2] }), standing);
  assert.equal(standingIn({ facts: { standing }, span: [1, 3] }), null);
  assert.equal(standingIn({ facts: { standing: null }, span: [1, 2] }), null);
  assert.ok(same([1, 2], [1, 2]) && same(null, null) && !same([1], null));
});

test("each message holds all that is chosen: an earlier one may be lost", () => {
  const sent = [];
  const view = { span: [1, 2], features: [7], basis: "trace", lock: 9, grain: "turn", sought: 4, send: (...message) => sent.push(message) };
  tell(view);
  tell({ ...view, span: null, lock: null, basis: "experiment" }, 5);
  assert.deepEqual(sent, [
    ["chosen", { span: [1, 2], features: [7], basis: "trace", locked: 9, shade: "features", grain: "turn", sought: 4, feature: null, branch: [] }],
    ["chosen", { span: null, features: [7], basis: "experiment", locked: null, shade: "features", grain: "turn", sought: 4, feature: 5, branch: [] }],
  ]);
});

test("a measure that is locked is none of the features, and what is gone on from is told once", () => {
  const sent = [];
  const view = { span: null, features: [7], basis: "trace", lock: -2, grain: "none", sought: null, send: (...message) => sent.push(message) };
  tell(view, null, [4, 9]);
  const rest = { span: null, features: [7], basis: "trace", grain: "none", sought: null, feature: null };
  assert.deepEqual(sent, [["chosen", { ...rest, locked: null, shade: "entropy", branch: [4, 9] }]]);
});

test("surprise and entropy are lit where they are not near 0", () => {
  const probabilities = [NaN, 1, 0.5, 0.999, 0.125];
  const alternatives = { starts: [0, 0, 5, 10, 15, 20], entropies: [0, 0, 700, 5, 1250] };
  const facts = { length: 5, probabilities, alternatives, tracks: new Map() };
  const surprise = trackOf(facts, measureOf("surprise"));
  assert.deepEqual([surprise.positions, surprise.activations], [[2, 4], [Math.log(2), Math.log(8)]]);
  const entropy = trackOf(facts, measureOf("entropy"));
  assert.deepEqual([entropy.positions, entropy.activations], [[2, 4], [0.7, 1.25]]);
});
