// Where keys lead, and what a span is.

import assert from "node:assert/strict";
import test from "node:test";
import { TRANSCRIPT, load } from "./scripts.mjs";
import { SENT } from "./traces.mjs";

const { firingBeside, isFull, lines, nextPlace, ordered, readFacts, within } = await load(
  TRANSCRIPT, "firingBeside", "isFull", "lines", "nextPlace", "ordered", "readFacts", "within",
);

test("a span runs from its first to its last position, whichever was marked first", () => {
  assert.deepEqual(ordered({ from: 9, to: 2 }), [2, 9]);
  assert.deepEqual(ordered({ from: 2, to: 2 }), [2, 2]);
});

test("no step leads out of the trace", () => {
  assert.deepEqual([-1, 0, 5, 6, Infinity, -Infinity].map((position) => within(position, 6)), [0, 0, 5, 5, 5, 0]);
});

test("N and P go to the next firing on either side, from the ends where no token has the keyboard", () => {
  const facts = readFacts(SENT);
  const found = (from, direction) => firingBeside(facts, 7, from, direction); // It fires at 0, 2 and 5.
  assert.deepEqual([null, 0, 1, 2, 5].map((from) => found(from, 1)), [0, 2, 2, 5, undefined]);
  assert.deepEqual([null, 5, 3, 2, 0].map((from) => found(from, -1)), [5, 2, 2, 0, undefined]);
  assert.equal(firingBeside(facts, 1, null, 1), undefined);
});

// Three rows of cells, 10 by 10; the middle one lacks its second cell.
const CELLS = [[0, 0], [10, 0], [20, 0], [0, 10], [20, 10], [0, 20], [10, 20], [20, 20]].map(([x, y]) => ({ x, y }));
const led = (from, key) => {
  const at = CELLS.findIndex(({ x, y }) => x === from[0] && y === from[1]);
  const to = nextPlace(CELLS, at, key);
  return to === null ? null : [CELLS[to].x, CELLS[to].y];
};

for (const [from, key, to] of [
  [[0, 0], "ArrowRight", [10, 0]],
  [[10, 0], "ArrowDown", [0, 10]], // as near aside on both sides: the first
  [[20, 10], "ArrowLeft", [10, 0]], // the nearest column; of its cells the first of those as near
  [[20, 20], "ArrowUp", [20, 10]],
  [[0, 0], "ArrowLeft", [0, 0]],
  [[20, 20], "ArrowDown", [20, 20]],
  [[10, 20], "Home", [0, 0]],
  [[10, 0], "End", [20, 20]],
  [[10, 0], "Tab", null],
]) {
  test(`${key} leads from ${from} to ${to}`, () => assert.deepEqual(led(from, key), to));
}

test("a block of tokens ends at a line's end, or where it is too long", () => {
  const full = (childElementCount, last) => isFull({ childElementCount }, last);
  assert.deepEqual([full(23, "\n"), full(24, "a\n"), full(24, "a"), full(499, "a"), full(500, "a")], [false, true, false, false, true]);
});

test("how many lines a text may take", () => {
  assert.deepEqual(["", "a", "a\nb", "x".repeat(91), "\n\n"].map(lines), [1, 1, 2, 2, 3]);
});
