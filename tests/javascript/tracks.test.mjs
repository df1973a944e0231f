// Which feature fires where: packed tables as the server sends them, and what is reckoned from them.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";
import { SENT, bytes, floats, small } from "./traces.mjs";

const { featuresAt, maximumOf, readFacts, shareOf, traceMaximum, trackOf, unpack } = await load(
  TRANSCRIPT, "featuresAt", "maximumOf", "readFacts", "shareOf", "traceMaximum", "trackOf", "unpack",
);

const sample = () => readFacts(SENT);

test("whole numbers and activations are unpacked in the type that they were packed in, the lowest byte first", () => {
  assert.deepEqual([...unpack(small(0, 255))], [0, 255]);
  assert.deepEqual([...unpack({ dtype: "uint16", base64: bytes(1, 2, 255, 255) })], [0x0201, 65535]);
  assert.deepEqual([...unpack({ dtype: "uint32", base64: bytes(4, 3, 2, 1) })], [0x01020304]);
  assert.deepEqual([...unpack(floats(0.5, -2))], [0.5, -2]);
  assert.deepEqual([...unpack(small())], []);
});

test("each position knows its segment and whether the scope counts it", () => {
  const { segments, counted, length } = sample();
  assert.equal(length, 6);
  assert.deepEqual(segments, ["prompt", "prompt", "think", "think", "think", "think"]);
  assert.deepEqual(counted, [false, false, true, true, true, true]);
});

test("the features of a token, strongest first", () => {
  assert.deepEqual(featuresAt(sample(), 2), [{ feature: 7, activation: 4 }, { feature: 9, activation: 2 }]);
  assert.deepEqual(featuresAt(sample(), 1), []);
});

test("a track that was sent is whole, one put together from the tokens is not", () => {
  const facts = sample();
  assert.deepEqual([...trackOf(facts, 7).positions], [0, 2, 5]);
  assert.equal(trackOf(facts, 7).whole, true);
  const { positions, activations, whole } = trackOf(facts, 9);
  assert.deepEqual([positions, activations, whole], [[0, 2, 4], [8, 2, 1], false]);
  assert.deepEqual(trackOf(facts, 1).positions, []);
});

test("the maximum of a trace and the share are those of the positions in scope", () => {
  assert.equal(traceMaximum(sample(), 7), 4); // 16 at position 0 is out of scope
  assert.equal(traceMaximum(sample(), 1), 0);
  assert.equal(shareOf(sample(), 7), 2 / 4);
  assert.equal(shareOf(sample(), 9), 2 / 4);
});

test("an activation is divided by the experiment's maximum where that is known, else by the trace's", () => {
  assert.deepEqual(maximumOf(sample(), 7, "trace"), { maximum: 4, basis: "trace" });
  assert.deepEqual(maximumOf(sample(), 7, "experiment"), { maximum: 32, basis: "experiment" });
  assert.deepEqual(maximumOf(sample(), 9, "experiment"), { maximum: 2, basis: "trace" });
});

test("where two traces share a scale, the larger maximum of both divides", () => {
  const shared = readFacts({ ...SENT, shared: { 7: 5, 9: 1 } });
  assert.deepEqual(maximumOf(shared, 7, "trace"), { maximum: 5, basis: "trace" });
  assert.deepEqual(maximumOf(shared, 9, "trace"), { maximum: 2, basis: "trace" });
});

test("a locked feature was asked for: that it is nowhere is known", () => {
  assert.equal(trackOf(readFacts({ ...SENT, locked: 33 }), 33).whole, true);
  assert.equal(trackOf(sample(), 33).whole, false);
});
