/** Rules on the GPU as far as a CPU can tell: packed rows through the graph give the logits of `applyRules`, to the bit. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PLACEHOLDER } from '../../../../gpu-worker/engine/step-plan.ts';
import type { PlanRow } from '../../../../gpu-worker/engine/step-plan.ts';
import { ruledRows } from '../../../../gpu-worker/model/cuda/device-rules.ts';
import { splitIntoParts } from '../../../../gpu-worker/model/cuda/plan-inputs.ts';
import { LIST_INPUTS, ROW_INPUTS, rulesGraph } from '../../../../gpu-worker/model/cuda/rules-graph.ts';
import { fitsGraph, packRules } from '../../../../gpu-worker/model/cuda/rules-inputs.ts';
import type { RuledRow, RulesBlock } from '../../../../gpu-worker/model/cuda/rules-inputs.ts';
import { RowSession } from '../../../../gpu-worker/model/row-session.ts';
import { Memory } from '../../../../gpu-worker/model/runtime/memory.ts';
import { Session } from '../../../../gpu-worker/model/runtime/session.ts';
import { Sampler, sinceHistory } from '../../../../gpu-worker/model/sampler.ts';
import type { DrawTarget, SamplerBackend } from '../../../../gpu-worker/model/sampler.ts';
import { applyRules } from '../../../../gpu-worker/sample/apply-rules.ts';
import type { LogitsRules } from '../../../../gpu-worker/sample/logits-rules.ts';
import { Xoshiro128 } from '../../../../gpu-worker/sample/random.ts';
import { TokenHistory } from '../../../../gpu-worker/sample/token-history.ts';
import { NO_DRAFTS, NO_RULES } from '../../sample/reference.ts';
import { GREEDY } from '../plans.ts';

/** Small enough for prompts, outputs, biases and forbidden ids to meet, large enough for lists of two widths. */
const VOCAB = 300;
const MAX_ROWS = 6;
const WORDS = 1 << 14;

let session: Session;
let memory: Memory;
beforeAll(() => {
  session = new Session(rulesGraph(), { threads: 1 });
  memory = Memory.allocate(4 * (WORDS + MAX_ROWS * VOCAB + MAX_ROWS));
});
afterAll(() => {
  session.release();
  memory.free();
});

const words = () => new Int32Array(memory.buffer, 0, WORDS);
const floats = () => new Float32Array(memory.buffer, 0, WORDS);
const logits = () => new Float32Array(memory.buffer, 4 * WORDS, MAX_ROWS * VOCAB);
const drawn = () => new Int32Array(memory.buffer, 4 * (WORDS + MAX_ROWS * VOCAB), MAX_ROWS);

function run({ rows, width, at }: RulesBlock): void {
  const binding = session.bind();
  const pointer = (word: number) => memory.pointer + BigInt(4 * word);
  const all = { pointer: pointer(WORDS), type: 'float32', shape: [MAX_ROWS * VOCAB] } as const;
  binding.input('logits', all);
  binding.output('changed', all);
  binding.input('words', { pointer: pointer(WORDS + MAX_ROWS * VOCAB), type: 'int32', shape: [MAX_ROWS] });
  const bind = (names: Readonly<Record<string, 'int32' | 'float32'>>, columns: number) => {
    for (const [name, type] of Object.entries(names)) {
      binding.input(name, { pointer: pointer(at[name as keyof typeof at]), type, shape: [rows, columns] });
    }
  };
  bind(LIST_INPUTS, width);
  bind(ROW_INPUTS, 1);
  binding.run();
  binding.release();
}

function changed(rows: readonly RuledRow[], before: readonly Float32Array[], tokens: readonly number[]) {
  words().fill(-99);
  before.forEach((row, i) => logits().set(row, i * VOCAB));
  drawn().set(tokens);
  const packed = packRules(rows, { words: words(), floats: floats(), vocabSize: VOCAB }, 64);
  for (const block of packed?.blocks ?? []) run(block);
  return { packed, logits: before.map((_, i) => logits().slice(i * VOCAB, (i + 1) * VOCAB)) };
}

const ids = fc.integer({ min: 0, max: VOCAB - 1 });
/** Also some that the model has not. */
const anyId = fc.integer({ min: -5, max: VOCAB + 5 });
const penalty = (off: number, min: number) =>
  fc.oneof(fc.constant(off), fc.double({ min, max: 2, noNaN: true, noDefaultInfinity: true }));
const ruledRow = fc.record({
  rules: fc.record({
    repetitionPenalty: penalty(1, 0.1),
    frequencyPenalty: penalty(0, -2),
    presencePenalty: penalty(0, -2),
    bias: fc.array(fc.tuple(anyId, fc.double({ min: -100, max: 100, noNaN: true })), { maxLength: 5 }),
    forbidden: fc.option(fc.record({ ids: fc.array(anyId, { maxLength: 4 }), untilIndex: fc.nat({ max: 9 }) })),
  }),
  prompt: fc.oneof(fc.array(ids, { maxLength: 20 }), fc.array(ids, { minLength: 80, maxLength: 200 })),
  output: fc.array(fc.oneof(ids, fc.nat(3)), { maxLength: 40 }),
  since: fc.array(fc.oneof(ids, fc.nat(3)), { maxLength: 4 }).map((tokens) => Int32Array.from(tokens)),
  pending: fc.option(fc.oneof(ids, fc.nat(3))),
});

test('any rules of any rows, the last token known or not: the logits of applyRules, other rows untouched', () => {
  const cases = fc.record({
    rows: fc.array(fc.option(ruledRow), { minLength: 1, maxLength: MAX_ROWS }),
    seed: fc.nat(1000),
  });
  fc.assert(
    fc.property(cases, ({ rows, seed }) => {
      const before = rows.map((_, r) =>
        Float32Array.from({ length: VOCAB }, (_, id) => 9 * Math.sin(seed + r + id * id)),
      );
      const ruled: RuledRow[] = [];
      const expected = before.map((row) => row.slice());
      const tokens = rows.map(() => -7);
      rows.forEach((row, place) => {
        if (row === null) return;
        const { output, prompt, since, pending } = row;
        // As a request has it: of ids that are biased twice the last counts, in both.
        const bias = [...new Map(row.rules.bias)];
        const rules = { ...row.rules, bias, mask: null, history: new TokenHistory(prompt, output) };
        const drafts = Int32Array.of(...since, ...(pending === null ? [] : [pending]));
        const index = output.length + drafts.length;
        const at = expected[place];
        if (at !== undefined) applyRules(at, rules, { index, drafts });
        if (pending !== null) tokens[place] = pending;
        ruled.push({ logits: place, rules, index, since, pending: pending === null ? null : place });
      });
      const { logits: result } = changed(ruled, before, tokens);
      // + 0: a sum may turn −0 into 0.
      result.forEach((row, i) => expect(row.map((value) => value + 0)).toEqual(expected[i]?.map((value) => value + 0)));
    }),
    { numRuns: 300, seed: 3 },
  );
});

const flat = () => new Float32Array(VOCAB).fill(1);
const PENALIZED: LogitsRules = { ...NO_RULES, frequencyPenalty: 0.5, history: new TokenHistory([], [5]) };

test('lists of one width run together, one place at least stays unused', () => {
  const long = { ...PENALIZED, history: new TokenHistory(Array.from({ length: 64 }, (_, id) => id)) };
  const rows = [PENALIZED, long, PENALIZED].map((rules, i) => ({
    logits: i,
    rules,
    index: 1,
    since: NO_DRAFTS,
    pending: null,
  }));
  const { packed } = changed(rows, [flat(), flat(), flat()], [0, 0, 0]);
  expect(packed?.blocks.map((block) => [block.rows, block.width])).toEqual([
    [2, 64],
    [1, 256],
  ]);
  const starts = packed?.blocks.flatMap(({ at }) => Object.values(at)) ?? [];
  expect(starts.every((at) => at % 64 === 0)).toBe(true);
  expect(packed?.end).toBeGreaterThan(Math.max(...starts));
});

test('rows that nothing changes are not packed; neither is what is more than the words hold', () => {
  const min = { ...NO_RULES, forbidden: { ids: [2], untilIndex: 4 } };
  const idle = [NO_RULES, min, { ...PENALIZED, history: new TokenHistory() }];
  const rows = idle.map((rules, i) => ({ logits: i, rules, index: 4, since: NO_DRAFTS, pending: null }));
  expect(changed(rows, [flat(), flat(), flat()], [0, 0, 0]).packed).toEqual({ blocks: [], end: 64 });
  // Not penalized, so no token is counted.
  expect(
    changed([{ logits: 0, rules: min, index: 9, since: NO_DRAFTS, pending: 0 }], [flat()], [3]).packed?.blocks,
  ).toEqual([]);
  const [few, more] = [new Int32Array(640), new Int32Array(1024)];
  const fits = (space: Int32Array<ArrayBuffer>) =>
    packRules(
      [{ logits: 0, rules: PENALIZED, index: 1, since: NO_DRAFTS, pending: null }],
      {
        ...{ words: space, floats: new Float32Array(space.buffer), vocabSize: VOCAB },
      },
      64,
    );
  expect([fits(few), fits(more)?.blocks.length]).toEqual([null, 1]);
});

test('of a part the rows with rules, each at its logits; a token that is only on the GPU is looked for where it was drawn', () => {
  const row = (sequence: number, ids: readonly number[], draws: number, rules: LogitsRules | null): PlanRow => ({
    ...{ sequence, blocks: Int32Array.of(sequence), start: 3, ids: Int32Array.from(ids), draws },
    sample: draws === 0 ? null : { ...GREEDY, index: 10 + sequence, rules },
  });
  const rows = [
    row(0, [4, 5], 0, null),
    row(1, [4], 1, PENALIZED),
    row(2, [4, 5, 6], 1, null),
    row(3, [PLACEHOLDER], 1, PENALIZED),
    row(4, [8, 9], 1, PENALIZED),
  ];
  const limits = { maxDraws: 8, decodesApart: true, maxExpanded: 1000, blockSize: 16 };
  const [decodes, longer] = splitIntoParts(rows, limits).map((part) => ruledRows(rows, part, new Map([[3, 42]])));
  expect(decodes).toEqual([
    { logits: 0, rules: PENALIZED, index: 11, since: NO_DRAFTS, pending: null },
    { logits: 1, rules: PENALIZED, index: 13, since: NO_DRAFTS, pending: 42 },
  ]);
  // The first of this part draws nothing, the second has no rules.
  expect(longer).toEqual([{ logits: 1, rules: PENALIZED, index: 14, since: NO_DRAFTS, pending: null }]);
});

/** As on a GPU: rules are applied where the logits are, but for masks. */
function graphBackend(): SamplerBackend & { readonly left: number[] } {
  const rowAt = (index: number) => logits().subarray(index * VOCAB, (index + 1) * VOCAB);
  const left: number[] = [];
  return {
    left,
    ...{ target: 'cpu', logits: memory.pointer + BigInt(4 * WORDS), chunkRows: 4 },
    row: rowAt,
    changed: (index) => void left.push(index),
    value: (index, id) => rowAt(index)[id] ?? NaN,
    applyRules: (targets, first) => {
      const rows: RuledRow[] = [];
      const masked: number[] = [];
      targets.forEach((target, i) => {
        const { spec, drafts } = target;
        if (spec.rules === null) return;
        const since = sinceHistory(target);
        if (!fitsGraph(spec.rules)) masked.push(i);
        else
          rows.push({ logits: first + i, rules: spec.rules, index: spec.index + drafts.length, since, pending: null });
      });
      for (const block of packRules(rows, { words: words(), floats: floats(), vocabSize: VOCAB }, 0)?.blocks ?? [])
        run(block);
      return masked;
    },
    open: (graph, rows) => new RowSession(graph, rows),
    free: () => {},
  };
}

test('a sampler whose rules are applied by the graph draws, and fails, as one that applies them itself', () => {
  const backend = graphBackend();
  const [ours, plain] = [backend, undefined].map((each) => {
    const random = new Xoshiro128([1, 2, 3, 4]);
    return new Sampler({
      vocabSize: VOCAB,
      maxRows: MAX_ROWS,
      random,
      ...(each === undefined ? {} : { backend: each }),
    });
  });
  if (ours === undefined || plain === undefined) throw new Error('no samplers');
  const everything = { ids: Array.from({ length: VOCAB }, (_, id) => id), untilIndex: 99 };
  const mask = { allowed: () => Uint32Array.of(0b1000), accept: () => {} };
  const penalized = { repetitionPenalty: 1.4, frequencyPenalty: 0.4, presencePenalty: 0.3, bias: [[7, 1.5]] as const };
  const history = new TokenHistory([1, 2, 3, 290], [3, 3, 8, 21]);
  const rules: LogitsRules = { ...NO_RULES, ...penalized, history };
  const spec = { ...GREEDY, index: 4 };
  const seeded = { ...spec, temperature: 0.8, topP: 0.9, seed: [5, 6] as const };
  const drafts = Int32Array.of(8, 30);
  const targets: DrawTarget[] = [
    { row: 0, spec: { ...spec, rules }, drafts },
    { row: 1, spec: { ...seeded, rules, logprobs: 3 }, drafts: NO_DRAFTS, unseen: Int32Array.of(30) },
    { row: 2, spec: { ...seeded, rules: null }, drafts: NO_DRAFTS },
    { row: 3, spec: { ...spec, rules: { ...NO_RULES, forbidden: everything } }, drafts: NO_DRAFTS },
    { row: 4, spec: { ...spec, rules: { ...rules, mask } }, drafts: NO_DRAFTS },
    { row: 5, spec: { ...seeded, rules, seed: [7, 8] }, drafts: NO_DRAFTS },
  ];
  for (let round = 0; round < 50; round++) {
    for (let place = 0; place < MAX_ROWS; place++) {
      const row = Float32Array.from({ length: VOCAB }, (_, id) => 3 * Math.sin(round * 31 + place * 7 + id * id));
      logits().set(row, place * VOCAB);
      plain.row(place).set(row);
    }
    const [a, b] = [ours.sample(targets), plain.sample(targets)];
    expect(a).toEqual(b);
    expect([...a.failures]).toEqual([[3, 'rules forbid every token']]);
    expect(a.tokens[4]).toBe(3);
  }
  expect([...new Set(backend.left)]).toEqual([4]);
  for (const sampler of [ours, plain]) sampler.free();
});
