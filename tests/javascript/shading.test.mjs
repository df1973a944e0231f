// The colours of the tokens: which features are lit, in which hue, and how fully.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";
import { SENT } from "./traces.mjs";

const { collect, litFeatures, readFacts, slotOf, strongestByRow, underline } = await load(
  TRANSCRIPT, "collect", "litFeatures", "readFacts", "slotOf", "strongestByRow", "underline",
);

const view = (changed) => ({ facts: readFacts(SENT), features: [7, 9], lock: null, pointed: null, basis: "trace", ...changed });
const collected = (changed, feature) => {
  const fires = new Map();
  collect(view(changed), feature, fires);
  return Object.fromEntries(fires);
};

test("the feature under the pointer is lit alone, else the locked one, else all that are shown", () => {
  assert.deepEqual(litFeatures(view({})), [7, 9]);
  assert.deepEqual(litFeatures(view({ lock: 9 })), [9]);
  assert.deepEqual(litFeatures(view({ lock: 9, pointed: 0 })), [0]);
});

test("a shown feature has the hue of its place, another the sixth", () => {
  assert.deepEqual([7, 9, 3].map((feature) => slotOf(view({}), feature)), [0, 1, 5]);
});

test("a token has the share of the maximum; none out of scope, where the feature is underlined", () => {
  assert.deepEqual(collected({}, 7), {
    0: [{ slot: 0, share: 0 }],
    2: [{ slot: 0, share: 1 }],
    5: [{ slot: 0, share: 0.75 }],
  });
  assert.equal(collected({ basis: "experiment" }, 7)[2][0].share, 4 / 32);
});

test("no share is above one, whatever the maximum of the experiment", () => {
  const facts = readFacts({ ...SENT, maxima: { 7: 2 } });
  assert.equal(collected({ facts, basis: "experiment" }, 7)[2][0].share, 1);
});

test("features that fire at one token part its underline", () => {
  const fires = new Map();
  for (const feature of [7, 9]) collect(view({}), feature, fires);
  assert.deepEqual(fires.get(2), [{ slot: 0, share: 1 }, { slot: 1, share: 1 }]);
  const line = "linear-gradient(90deg, var(--line-0) 0.0% 50.0%, var(--line-1) 50.0% 100.0%)";
  assert.equal(underline(fires.get(2)), line);
});

test("a row of pixels of the strip shows the strongest of its tokens", () => {
  assert.deepEqual([...strongestByRow(readFacts(SENT), 7, 4, 2)], [[0, 1], [1, 0.75]]);
  assert.deepEqual([...strongestByRow(readFacts(SENT), 7, 0, 60)], [[0, 0], [20, 0], [50, 0]]);
});
