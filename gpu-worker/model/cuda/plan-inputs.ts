/** Pure: a step plan's rows → the parts that run one after another, and each part's inputs as int32 words. Knows no CUDA. */
import { PLACEHOLDER } from '../../engine/step-plan.ts';
import type { PlanRow } from '../../engine/step-plan.ts';

/** Rows of a plan that run together. */
export interface Part {
  /** Places of its rows in the plan. */
  readonly rows: readonly number[];
  readonly tokens: number;
  readonly draws: number;
  /** The most tokens of a row, the most of its sequence after it, and the most blocks of one. */
  readonly longestRow: number;
  readonly longestTotal: number;
  readonly width: number;
  /** One token and one draw in every row: what CUDA graphs and the decode kernels are for. */
  readonly decode: boolean;
}

export interface PartLimits {
  /** Rows of logits that there is memory for. */
  readonly maxDraws: number;
  /**
   * Decodes run apart from longer rows: a quantized cache is read in place only where every row has one token, and
   * would be expanded for all of them otherwise.
   */
  readonly decodesApart: boolean;
  /** Rows × the longest total of a part with longer rows: so many tokens of such a cache are expanded at once. */
  readonly maxExpanded: number;
  readonly blockSize: number;
}

/** Decodes first. The rows' own order is kept inside each kind. */
export function splitIntoParts(rows: readonly PlanRow[], limits: PartLimits): readonly Part[] {
  const places = rows.map((_, place) => place);
  const isDecode = (place: number): boolean => rows[place]?.ids.length === 1 && rows[place].draws === 1;
  const groups = limits.decodesApart ? [places.filter(isDecode), places.filter((place) => !isDecode(place))] : [places];
  return groups.flatMap((group) => cut(rows, group, limits)).map((group) => partOf(rows, group, limits.blockSize));
}

/** A group of rows in pieces that keep the limits. */
function cut(rows: readonly PlanRow[], group: readonly number[], limits: PartLimits): readonly (readonly number[])[] {
  const pieces: number[][] = [];
  let [open, draws, longestRow, longestTotal] = [[] as number[], 0, 0, 0];
  for (const place of group) {
    const { ids, start, draws: rowDraws } = rowAt(rows, place);
    const total = Math.max(longestTotal, start + ids.length);
    // One longer row is enough: then the others are expanded with it.
    const expands = limits.decodesApart && Math.max(longestRow, ids.length) > 1;
    const full = draws + rowDraws > limits.maxDraws || (expands && (open.length + 1) * total > limits.maxExpanded);
    if (open.length > 0 && full) [open, draws, longestRow, longestTotal] = [[], 0, 0, 0];
    if (open.length === 0) pieces.push(open);
    open.push(place);
    draws += rowDraws;
    longestRow = Math.max(longestRow, ids.length);
    longestTotal = Math.max(longestTotal, start + ids.length);
  }
  return pieces;
}

function partOf(rows: readonly PlanRow[], places: readonly number[], blockSize: number): Part {
  let [tokens, draws, longestRow, longestTotal] = [0, 0, 0, 0];
  let decode = true;
  for (const place of places) {
    const { ids, start, draws: rowDraws } = rowAt(rows, place);
    tokens += ids.length;
    draws += rowDraws;
    longestRow = Math.max(longestRow, ids.length);
    longestTotal = Math.max(longestTotal, start + ids.length);
    decode &&= ids.length === 1 && rowDraws === 1;
  }
  const width = Math.ceil(longestTotal / blockSize);
  return { rows: places, tokens, draws, longestRow, longestTotal, width, decode };
}

/** Sizes that a part's inputs are laid out for: its own, or those of the bucket that it is padded to. */
export interface PartShape {
  readonly tokens: number;
  readonly sequences: number;
  readonly width: number;
  /** Rows of logits, at least 1: without a draw the first token's logits are computed and nobody looks. */
  readonly logits: number;
}

export function ownShape(part: Part): PartShape {
  return {
    tokens: part.tokens,
    sequences: part.rows.length,
    width: part.width,
    logits: Math.max(1, part.draws),
  };
}

/** Where each input begins, in words. `end`: the first word after them all. */
export interface PartLayout {
  readonly ids: number;
  readonly index: number;
  readonly slots: number;
  readonly cumulative: number;
  readonly past: number;
  readonly blockTable: number;
  readonly rows: number;
  /** float32, one for each draw: temperature and the two uniforms of the inverse CDF. */
  readonly temperature: number;
  readonly blockUniform: number;
  readonly tokenUniform: number;
  readonly end: number;
}

/** Every input begins at a multiple of so many words: 256 bytes, as cudaMalloc has it. */
const ALIGNMENT = 64;

export function layoutOf({ tokens, sequences, width, logits }: PartShape, base: number): PartLayout {
  let at = base;
  const take = (words: number): number => {
    const start = at;
    at += Math.ceil(words / ALIGNMENT) * ALIGNMENT;
    return start;
  };
  return {
    ids: take(tokens),
    index: take(tokens),
    slots: take(tokens),
    cumulative: take(sequences + 1),
    past: take(sequences),
    blockTable: take(sequences * width),
    rows: take(logits),
    temperature: take(logits),
    blockUniform: take(logits),
    tokenUniform: take(logits),
    end: at,
  };
}

/** Words that any step's parts need at most. */
export function wordsOfLargestStep(limits: {
  readonly maxStepTokens: number;
  readonly maxNumSeqs: number;
  readonly maxWidth: number;
}): number {
  const { maxStepTokens, maxNumSeqs, maxWidth } = limits;
  // Padding rows of a bucket count as tokens and draws.
  const tokens = 3 * (maxStepTokens + maxNumSeqs);
  const sequences = maxNumSeqs * (3 + 2 * maxWidth);
  const draws = 4 * (maxStepTokens + maxNumSeqs);
  // Rows of a quantized cache that are too long to be expanded together are a part each.
  const parts = maxNumSeqs;
  return tokens + sequences + draws + parts * 11 * ALIGNMENT;
}

export interface PackTarget {
  /** The step's words; the GPU's copy of them begins with `drawn` words of the previous plan's draws. */
  readonly words: Int32Array;
  readonly layout: PartLayout;
  readonly shape: PartShape;
}

export interface PackContext {
  readonly blockSize: number;
  /** Words before the step's own in the GPU's copy. */
  readonly drawn: number;
  /** Sequence → place of its draw among the previous plan's. */
  readonly previous: ReadonlyMap<number, number>;
}

/** Nothing is written to KV for it. */
const NO_SLOT = -1;

/** Writes a part's inputs but for those of drawing. Throws when a placeholder stands for nothing. */
export function packPart(rows: readonly PlanRow[], part: Part, target: PackTarget & PackContext): void {
  const { words, layout, shape, blockSize, drawn, previous } = target;
  let [token, logits] = [0, 0];
  part.rows.forEach((place, sequence) => {
    const { ids, start, blocks, draws, sequence: number } = rowAt(rows, place);
    words[layout.cumulative + sequence] = token;
    words[layout.past + sequence] = start;
    const table = layout.blockTable + sequence * shape.width;
    for (let i = 0; i < shape.width; i++) words[table + i] = blocks[i] ?? 0;
    for (let i = 0; i < ids.length; i++, token++) {
      const id = ids[i] ?? 0;
      const position = start + i;
      words[layout.ids + token] = id;
      words[layout.index + token] = id === PLACEHOLDER ? drawOf(previous, number) : drawn + layout.ids + token;
      words[layout.slots + token] =
        (blocks[Math.floor(position / blockSize)] ?? 0) * blockSize + (position % blockSize);
    }
    for (let draw = draws; draw > 0; draw--) words[layout.rows + logits++] = token - draw;
  });
  if (part.draws === 0) words[layout.rows + logits++] = 0;
  padPart(part, target, { token, logits });
}

/** Sequences of one token that is written nowhere and drawn for nobody. */
function padPart(
  part: Part,
  { words, layout, shape, drawn }: PackTarget & PackContext,
  from: { readonly token: number; readonly logits: number },
): void {
  let { token, logits } = from;
  for (let sequence = part.rows.length; sequence < shape.sequences; sequence++, token++) {
    words[layout.cumulative + sequence] = token;
    words[layout.past + sequence] = 0;
    const table = layout.blockTable + sequence * shape.width;
    words.fill(0, table, table + shape.width);
    words[layout.ids + token] = 0;
    words[layout.index + token] = drawn + layout.ids + token;
    words[layout.slots + token] = NO_SLOT;
  }
  words[layout.cumulative + shape.sequences] = token;
  for (; logits < shape.logits; logits++) words[layout.rows + logits] = logits < token ? logits : 0;
}

function drawOf(previous: ReadonlyMap<number, number>, sequence: number): number {
  const place = previous.get(sequence);
  if (place === undefined) throw new RangeError(`the plan before drew no token for sequence ${sequence}`);
  return place;
}

function rowAt(rows: readonly PlanRow[], place: number): PlanRow {
  const row = rows[place];
  if (row === undefined) throw new RangeError(`the plan has no row ${place}`);
  return row;
}

/**
 * Draws come back part by part. Returns for each of them its place in the plan's order, and for each sequence that
 * drew once the place of that draw among them.
 */
export function drawPlaces(
  rows: readonly PlanRow[],
  parts: readonly Part[],
): { readonly order: Int32Array; readonly bySequence: ReadonlyMap<number, number> } {
  const firsts: number[] = [];
  let total = 0;
  for (const { draws } of rows) {
    firsts.push(total);
    total += draws;
  }
  const order = new Int32Array(total);
  const bySequence = new Map<number, number>();
  let at = 0;
  for (const part of parts) {
    for (const place of part.rows) {
      const { draws, sequence } = rowAt(rows, place);
      if (draws === 1) bySequence.set(sequence, at);
      for (let draw = 0; draw < draws; draw++) order[at++] = (firsts[place] ?? 0) + draw;
    }
  }
  return { order, bySequence };
}
