// A trace for tests, packed as the server packs it: six tokens, of which the first two are the prompt and do not count.
// Feature 7 has a track; 9 is known from the tokens that it is among the first of.

export const bytes = (...values) => Buffer.from(values).toString("base64");
export const small = (...values) => ({ dtype: "uint8", base64: bytes(...values) });
export const floats = (...values) => ({
  dtype: "float32",
  base64: Buffer.from(new Float32Array(values).buffer).toString("base64"),
});

export const SENT = {
  texts: ["a", "b", "c", "d", "e", "f"],
  bands: [
    { segment: "prompt", tokens: 2, counts: false },
    { segment: "think", tokens: 4, counts: true },
  ],
  ids: small(1, 2, 3, 4, 5, 6),
  probabilities: floats(NaN, NaN, 1, 0.5, 0.25, 0.125),
  hover: { counts: small(1, 0, 2, 0, 1, 0), features: small(9, 7, 9, 9), activations: floats(8, 4, 2, 1) },
  tracks: { features: [7], counts: [3], positions: small(0, 2, 5), activations: floats(16, 4, 3) },
  ranked: [],
  features: [7],
  maxima: { 7: 32, 9: 0 },
  shared: {},
  locked: null,
};
