/** Pure: the rules of a part's rows → blocks of rows that the rules graph takes together, as int32 words. Knows no CUDA. */
import type { LogitsRules } from '../../sample/logits-rules.ts';
import { LIST_INPUTS, ROW_INPUTS, UNSEEN, UNUSED } from './rules-graph.ts';

export interface RuledRow {
  /** Place of its logits among the part's. */
  readonly logits: number;
  readonly rules: LogitsRules;
  /** Output index of the draw. */
  readonly index: number;
  /** Output that the history does not have yet and the host knows. */
  readonly since: Int32Array;
  /** Where among the words the last token of the output is if only the GPU knows it; null = the host knows all. */
  readonly pending: number | null;
}

type InputName = keyof typeof LIST_INPUTS | keyof typeof ROW_INPUTS;

/** Rows with lists of one width, and where each of their inputs begins, in words. */
export interface RulesBlock {
  readonly rows: number;
  readonly width: number;
  readonly at: Readonly<Record<InputName, number>>;
}

export interface RulesTarget {
  /** `floats` is the same memory. */
  readonly words: Int32Array;
  readonly floats: Float32Array;
  readonly vocabSize: number;
}

/** Widths go up by this factor: few shapes, and as little padding as a factor of two more of them would have on average. */
const FIRST_WIDTH = 64;
const WIDTH_FACTOR = 4;
/** Every input begins at a multiple of so many words: 256 bytes. */
const ALIGNMENT = 64;
const NAMES = [...Object.keys(LIST_INPUTS), ...Object.keys(ROW_INPUTS)] as readonly InputName[];

/** Whether the rules need no host: masks are made there. */
export function fitsGraph({ mask }: LogitsRules): boolean {
  return mask === null;
}

/**
 * Packs rows from word `base` on, those that change nothing left out. Returns their blocks and the first word
 * after them; null when the words do not suffice.
 */
export function packRules(
  rows: readonly RuledRow[],
  target: RulesTarget,
  base: number,
): { readonly blocks: readonly RulesBlock[]; readonly end: number } | null {
  const byWidth = new Map<number, Listed[]>();
  for (const row of rows) {
    const listed = listOf(row, target.vocabSize);
    if (listed === null) continue;
    const width = widthFor(listed.tokens);
    const others = byWidth.get(width);
    if (others === undefined) byWidth.set(width, [listed]);
    else others.push(listed);
  }
  const blocks: RulesBlock[] = [];
  let end = base;
  for (const [width, listed] of byWidth) {
    const placed = place(listed.length, width, end);
    if (placed.end > target.words.length) return null;
    listed.forEach((each, i) => write(each, i, { ...target, block: placed.block }));
    blocks.push(placed.block);
    end = placed.end;
  }
  return { blocks, end };
}

/** All that so many words hold in one block of the narrowest rows. */
export function largestBlock(words: number): RulesBlock {
  const each = Object.keys(LIST_INPUTS).length * FIRST_WIDTH + Object.keys(ROW_INPUTS).length;
  const rows = Math.floor((words - NAMES.length * ALIGNMENT) / each);
  return place(rows, FIRST_WIDTH, 0).block;
}

interface Listed {
  readonly row: RuledRow;
  readonly penalized: boolean;
  /** Ids with a bias or forbidden, which has −Infinity; without those that the model has not. */
  readonly biases: ReadonlyMap<number, number>;
  /** How often `since` has an id. */
  readonly recent: ReadonlyMap<number, number>;
  /** Of both the ids that the history does not list. */
  readonly others: ReadonlySet<number>;
  readonly tokens: number;
}

function listOf(row: RuledRow, vocabSize: number): Listed | null {
  const { rules, index, pending, since } = row;
  const { repetitionPenalty, frequencyPenalty, presencePenalty, history, forbidden } = rules;
  const penalized = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
  const biases = new Map(rules.bias.map(([id, bias]) => [id, Math.fround(bias)]));
  if (forbidden !== null && index < forbidden.untilIndex) for (const id of forbidden.ids) biases.set(id, -Infinity);
  for (const id of biases.keys()) if (id < 0 || id >= vocabSize) biases.delete(id);
  const recent = new Map<number, number>();
  if (penalized) for (const id of since) recent.set(id, (recent.get(id) ?? 0) + 1);
  const seen = penalized ? history.ids.length : 0;
  const others = new Set<number>();
  for (const id of [...biases.keys(), ...recent.keys()]) {
    if (!penalized || history.placeOf(id) === null) others.add(id);
  }
  const tokens = seen + others.size;
  if (tokens === 0 && (!penalized || pending === null)) return null;
  return { row, penalized, biases, recent, others, tokens };
}

/** More than the tokens: one place at least stays unused. */
function widthFor(tokens: number): number {
  let width = FIRST_WIDTH;
  while (width <= tokens) width *= WIDTH_FACTOR;
  return width;
}

function place(rows: number, width: number, base: number): { readonly block: RulesBlock; readonly end: number } {
  let end = base;
  const take = (name: InputName): readonly [InputName, number] => {
    const start = end;
    end += Math.ceil((rows * (name in LIST_INPUTS ? width : 1)) / ALIGNMENT) * ALIGNMENT;
    return [name, start];
  };
  const at = Object.fromEntries(NAMES.map(take)) as Record<InputName, number>;
  return { block: { rows, width, at }, end };
}

function write(
  { row, penalized, biases, recent, others, tokens }: Listed,
  i: number,
  { words, floats, vocabSize, block: { width, at } }: RulesTarget & { readonly block: RulesBlock },
): void {
  const { rules, logits, pending } = row;
  const [ids, counts, bias] = [at.ids + i * width, at.counts + i * width, at.bias + i * width];
  const { history } = rules;
  words.fill(0, ids + tokens, ids + width);
  words.fill(UNUSED, counts + tokens, counts + width);
  floats.fill(0, bias, bias + width);
  let next = 0;
  if (penalized) {
    words.set(history.ids, ids);
    words.set(history.counts, counts);
    next = history.ids.length;
    for (const [id, count] of recent) {
      const place = history.placeOf(id);
      if (place !== null) words[counts + place] = (words[counts + place] ?? 0) + count;
    }
    for (const [id, value] of biases) {
      const place = history.placeOf(id);
      if (place !== null) floats[bias + place] = value;
    }
  }
  for (const id of others) {
    words[ids + next] = id;
    words[counts + next] = recent.get(id) ?? UNSEEN;
    floats[bias + next] = biases.get(id) ?? 0;
    next++;
  }
  const isPending = penalized && pending !== null;
  words[at.offset + i] = logits * vocabSize;
  words[at.place + i] = isPending ? pending : 0;
  words[at.known + i] = words[ids] ?? 0;
  floats[at.pending + i] = isPending ? 1 : 0;
  floats[at.repetition + i] = rules.repetitionPenalty;
  floats[at.frequency + i] = rules.frequencyPenalty;
  floats[at.presence + i] = rules.presencePenalty;
}
