// What passes between the scripts of the transcript, for the check of types alone: no browser reads this.

/** Of packing.py: the little-endian values. */
interface Packed {
  dtype: "uint8" | "uint16" | "uint32" | "float32";
  base64: string;
}

/** A typed array, or a plain one. */
interface Values extends Iterable<number> {
  readonly length: number;
  readonly [at: number]: number;
  indexOf(value: number): number;
  reduce<Result>(add: (result: Result, value: number) => Result, first: Result): Result;
}

/** First and last position. */
type Span = [number, number];
type Basis = "trace" | "experiment";
/** What is lit in the place of a feature. */
type Shade = "features" | "surprise" | "entropy";

interface Band {
  segment: string;
  tokens: number;
  counts: boolean;
}

interface Ranked {
  feature: number;
  maximum: number;
  share: number;
}

interface Standing {
  feature: number;
  positions: number;
  lift: number;
  low: number;
  high: number;
}

/** What all deliveries have as it is sent. */
interface Delivered {
  trace: string;
  hookpoint: string;
  /** The largest number that a feature has there; null: not known. */
  last: number | null;
  scope: string;
  texts: string[];
  bands: Band[];
  ranked: Ranked[];
  features: number[];
  most: number;
  maxima: Record<number, number>;
  labels: Record<number, string>;
  lines: Record<number, string>;
  span: Span | null;
  position: number | null;
  /** The transcript goes to the position when this changes, too. */
  visit: number;
  marked: number[];
  verdict: string | null;
  basis: Basis;
  locked: number | null;
  shade: Shade;
  shared: Record<number, number>;
  bases: Record<Basis, string>;
  /** Whether one may go on from a position with another token. */
  branches: boolean;
  standing: { span: Span; rows: Standing[] } | null;
  /** What the transcript is cut into, and what else it may be: names of steps.js. */
  grain: string;
  grains: string[];
  /** The feature whose firings are gone through. */
  sought: number | null;
}

/** As `packing.payload` makes it. */
interface Sent extends Delivered {
  ids: Packed;
  probabilities: Packed;
  hover: { counts: Packed; features: Packed; activations: Packed };
  alternatives: {
    counts: Packed;
    entropies: Packed;
    named: Packed;
    surprises: Packed;
    ids: Packed;
    texts: string[];
  } | null;
  tracks: { features: number[]; counts: number[]; positions: Packed; activations: Packed };
  outline: Record<"firsts" | "counts" | "features" | "positions" | "lifts" | "lows" | "highs", Packed> | null;
}

/** By step: where it begins; from where on, of what stands out in all of them end to end, its own is. */
interface Outline extends Record<"firsts" | "features" | "positions" | "lifts" | "lows" | "highs", Values> {
  starts: number[];
  /** The number of a step by its first position. */
  index: Map<number, number>;
}

/** What somebody looks for: a text, or the id of a token, or a feature. */
interface Sought {
  kind: "text" | "id" | "feature";
  number: number;
  text: string;
}

interface Track {
  positions: Values;
  activations: Values;
  /** Whether it was sent; else it is put together from what the tokens say. */
  whole: boolean;
  maximum?: number;
}

/** What else might have been written: −ln p and entropies in thousandths of a nat. */
interface Alternatives {
  starts: number[];
  entropies: Values;
  named: Values;
  surprises: Values;
  ids: Values;
  texts: string[];
}

/** What was sent, unpacked. */
interface Facts extends Delivered {
  length: number;
  /** By position, as are `segments` and `counted`: the texts, whole characters put together. */
  written: string[];
  segments: string[];
  counted: boolean[];
  ids: Values;
  probabilities: Values;
  hover: { starts: number[]; features: Values; activations: Values };
  alternatives: Alternatives | null;
  tracks: Map<number, Track>;
  ranks: Map<number, Ranked>;
  outline: Outline | null;
  /** Once somebody has looked for a text. */
  joined?: { whole: string; ends: number[] };
}

interface Firing {
  feature: number;
  activation: number;
}

/** A feature that fires at a position: its hue, and the share of its maximum. */
interface Lit {
  slot: number;
  share: number;
}

type TokenElement = HTMLElement & { position: number };
type FeatureElement = HTMLElement & { feature: number };
type StepElement = HTMLElement & { first: number };
/** `told`: all that it says. */
type StepRow = HTMLElement & { first: number; told: string };

interface Drag {
  from: number;
  to: number;
  moved?: boolean;
  shift?: boolean;
  touch?: boolean;
}

/** As `drawing.read` reads it. */
interface Chosen {
  span: Span | null;
  features: number[];
  basis: Basis;
  locked: number | null;
  shade: Shade;
  grain: string;
  sought: number | null;
  /** To be opened now. */
  feature: number | null;
  /** To go on from now: a position, and the id of the token to put there, if any. */
  branch: number[];
}

/** One transcript on a page; `newView` says what each is. */
interface View {
  shadow: ShadowRoot;
  facts: Facts;
  features: number[];
  lock: number | null;
  pointed: number | null;
  basis: Basis;
  span: Span | null;
  anchor: number | null;
  unsent: boolean;
  drag: Drag | null;
  press: { position: number; x: number; y: number; timer: number } | null;
  begun: number | null;
  focus: number | null;
  held: number | null;
  explained: number | null;
  tokens: TokenElement[];
  painted: TokenElement[];
  spanned: TokenElement[];
  marked: TokenElement[];
  rows: FeatureElement[];
  grain: string;
  cut: Outline | null;
  folded: Set<number>;
  steps: StepRow[];
  stop: number;
  following: number | undefined;
  hits: Span[];
  hit: number | null;
  sighted: TokenElement[];
  sought: number | null;
  telling: number | undefined;
  listed: Facts["standing"];
  send: (name: "chosen", value: Chosen) => void;
  root: HTMLElement;
  scroller: HTMLElement;
  strip: HTMLCanvasElement;
  list: HTMLElement;
  heading: HTMLElement;
  tooltip: HTMLElement;
  announcer: HTMLElement;
  help: HTMLElement;
  legend: HTMLElement;
  spanChip: HTMLElement;
  grainChoice: HTMLSelectElement;
  outline: HTMLElement;
  outlineName: HTMLElement;
  outlineList: HTMLElement;
  finder: HTMLInputElement;
  found: HTMLElement;
  picker: HTMLDataListElement;
}

/** A character, or an escaped byte, of a token; the byte is NaN for a character. */
interface Unit {
  token: number;
  piece: string;
  byte: number;
}

/** What Streamlit gives a component. */
interface Component<Data> {
  data: Data;
  parentElement: ShadowRoot;
  setTriggerValue: (name: string, value: unknown) => void;
  setStateValue: (name: string, value: unknown) => void;
}
