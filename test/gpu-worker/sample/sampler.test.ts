import { afterEach, describe, expect, test } from 'vitest';
import type { SampleSpec, TokenLogprobs } from '../../../gpu-worker/engine/step-plan.ts';
import { RowSession } from '../../../gpu-worker/model/row-session.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { Sampler } from '../../../gpu-worker/model/sampler.ts';
import type { Draws, DrawTarget, RowGraphRunner, SamplerBackend } from '../../../gpu-worker/model/sampler.ts';
import type { LogitsMask, LogitsRules } from '../../../gpu-worker/sample/logits-rules.ts';
import { TokenHistory } from '../../../gpu-worker/sample/token-history.ts';
import type { RandomSource } from '../../../gpu-worker/sample/random.ts';
import { Xoshiro128 } from '../../../gpu-worker/sample/random.ts';
import { logSoftmax, misfit, NO_DRAFTS, NO_RULES, ruled, softmax, sortedIds, SPEC, truncated } from './reference.ts';

const ROWS = 48;
/** Not a multiple of the inverse CDF's block. */
const SIZE = 1000;

let sampler: Sampler;
afterEach(() => sampler.free());

function open(vocabSize: number, maxRows = ROWS, random: RandomSource = new Xoshiro128([1, 2, 3, 4])): void {
  sampler = new Sampler({ vocabSize, maxRows, random });
}

/** Logits of a normal distribution, the same for the same seed. */
function normalLogits(size: number, scale: number, seed = 5): Float32Array {
  const random = new Xoshiro128([seed, 0x9e3779b9, 0x7f4a7c15, 0xbf58476d]);
  const uniform = () => (random.uint32() + 0.5) / 2 ** 32;
  return Float32Array.from(
    { length: size },
    () => scale * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

function target(spec: Partial<SampleSpec>, row = 0, drafts: Int32Array = NO_DRAFTS): DrawTarget {
  return { row, spec: { ...SPEC, ...spec }, drafts };
}

/** Row i of the logits is `rows[i]`. */
function sample(rows: readonly Float32Array[], targets: readonly DrawTarget[]): Draws {
  rows.forEach((row, i) => sampler.row(i).set(row));
  return sampler.sample(targets);
}

function sampleOne(logits: Float32Array, spec: Partial<SampleSpec>): number {
  return sample([logits], [target(spec)]).tokens[0] ?? -1;
}

/** Draws of one spec at consecutive output indices, in batches. */
function drawMany(logits: Float32Array, spec: Partial<SampleSpec>, count: number): number[] {
  const rows = Array.from({ length: ROWS }, () => logits);
  const draws: number[] = [];
  while (draws.length < count) {
    draws.push(
      ...sample(
        rows,
        rows.map((_, i) => target({ ...spec, index: draws.length + i }, i)),
      ).tokens,
    );
  }
  return draws;
}

/** Allows these ids, and tells which drafts it was asked with. */
class ListMask implements LogitsMask {
  readonly asked: number[][] = [];
  readonly #words: Uint32Array;

  constructor(ids: readonly number[], size: number) {
    this.#words = new Uint32Array(Math.ceil(size / 32));
    for (const id of ids) this.#words[id >> 5] = (this.#words[id >> 5] ?? 0) | (1 << (id & 31));
  }

  allowed(drafts: Int32Array): Uint32Array {
    this.asked.push([...drafts]);
    return this.#words;
  }

  accept(): void {}
}

const PROMPT = [1, 2, 3, 700];
const OUTPUT = [3, 3, 3, 8, 21, 500, 999];
const PENALTIES: LogitsRules = {
  ...NO_RULES,
  repetitionPenalty: 1.3,
  frequencyPenalty: 0.4,
  presencePenalty: 0.3,
  history: new TokenHistory(PROMPT, OUTPUT),
};

describe('draws follow the exact distribution (chi-square)', () => {
  const logits = normalLogits(SIZE, 2);
  const plain = softmax(logits, 1);
  const penalized = softmax(ruled(logits, PENALTIES, OUTPUT), 1);
  const top100 = sortedIds(logits).slice(0, 100);
  const mask = new ListMask([...top100, 999], SIZE);
  const masked = softmax(ruled(logits, { ...NO_RULES, mask }, []), 0.8);
  const cases: readonly (readonly [string, Partial<SampleSpec>, Float64Array])[] = [
    ['temperature 1', {}, plain],
    ['temperature 0.5', { temperature: 0.5 }, softmax(logits, 0.5)],
    ['temperature 2', { temperature: 2 }, softmax(logits, 2)],
    ['top-p', { topP: 0.6 }, truncated(plain, { topK: 0, topP: 0.6, minP: 0 })],
    [
      'top-p beyond 64 tokens',
      { temperature: 2, topP: 0.9 },
      truncated(softmax(logits, 2), { topK: 0, topP: 0.9, minP: 0 }),
    ],
    ['top-k', { topK: 10 }, truncated(plain, { topK: 10, topP: 1, minP: 0 })],
    ['min-p', { minP: 0.05 }, truncated(plain, { topK: 0, topP: 1, minP: 0.05 })],
    ['penalties', { rules: PENALTIES }, penalized],
    ['penalties and top-p', { rules: PENALTIES, topP: 0.8 }, truncated(penalized, { topK: 0, topP: 0.8, minP: 0 })],
    ['a mask', { rules: { ...NO_RULES, mask }, temperature: 0.8 }, masked],
  ];
  describe.each([
    ['seeded', [11, 22] as const],
    ['unseeded', null],
  ])('%s', (_, seed) => {
    test.each(cases)('%s', (_name, spec, expected) => {
      open(SIZE);
      expect(misfit(drawMany(logits, { ...spec, seed }, 20_000), expected)).toBeNull();
    });
  });

  test.each([2, 255, 256, 257, 512])('unseeded over a vocabulary of %i', (size) => {
    open(size);
    const flat = normalLogits(size, 0.5);
    expect(misfit(drawMany(flat, {}, 20_000), softmax(flat, 1))).toBeNull();
  });

  test.each([
    ['seeded', [11, 22] as const],
    ['unseeded', null],
  ])(
    '%s over a vocabulary of 20,001, across blocks and inside them',
    (_, seed) => {
      open(20_001);
      const flat = normalLogits(20_001, 1);
      const expected = softmax(flat, 1);
      const draws = drawMany(flat, { seed }, 20_000);
      for (const fold of [(id: number) => id >> 8, (id: number) => id & 255]) {
        const cells = new Float64Array(256);
        expected.forEach((p, id) => (cells[fold(id)] = (cells[fold(id)] ?? 0) + p));
        expect(misfit(draws.map(fold), cells)).toBeNull();
      }
    },
    120_000,
  );

  test.each([[[1, 2] as const], [null]])('a vocabulary of one token, seed %j', (seed) => {
    open(1);
    expect(new Set(drawMany(Float32Array.of(-3), { seed }, 100))).toEqual(new Set([0]));
  });
});

describe('unseeded rows at the ends of their uniforms', () => {
  test.each([
    ['smallest', 0, 70],
    ['largest', 0xffff_ffff, 900],
  ])('the %s uniform draws a token that has a probability', (_, word, expected) => {
    open(SIZE, 1, { uint32: () => word });
    const mask = new ListMask([70, 300, 900], SIZE);
    expect(sampleOne(normalLogits(SIZE, 2), { rules: { ...NO_RULES, mask } })).toBe(expected);
  });

  test('the largest uniform stays inside the vocabulary', () => {
    for (const size of [257, 300, 511]) {
      open(size, 1, { uint32: () => 0xffff_ffff });
      expect(sampleOne(new Float32Array(size), {})).toBe(size - 1);
      sampler.free();
    }
    open(1);
  });
});

describe('keyed draws', () => {
  const kinds: readonly Partial<SampleSpec>[] = [
    { seed: [5, 6] },
    { seed: [5, 6], temperature: 1.5, topP: 0.95 },
    { seed: [5, 6], topK: 20, rules: PENALTIES },
    { temperature: 0 },
    { temperature: 0, logprobs: 3 },
    {},
  ];

  test('are equal alone and in any batch, beside greedy and unseeded rows', () => {
    open(SIZE);
    const rows = Array.from({ length: ROWS }, (_, i) => normalLogits(SIZE, 1, i + 1));
    const targets = rows.map((_, i) => target({ ...kinds[i % kinds.length], index: i }, i));
    const together = sample(rows, targets).tokens;
    rows.forEach((logits, i) => {
      if (i % kinds.length === 5) return;
      expect(sample([logits], [target({ ...kinds[i % kinds.length], index: i })]).tokens[0]).toBe(together[i]);
    });
  });

  test('are equal at any draft offset', () => {
    open(SIZE);
    const drafts = [3, 44, 3, 999];
    for (const kind of kinds.slice(0, 4)) {
      const rules = {
        ...PENALTIES,
        forbidden: { ids: [...sortedIds(normalLogits(SIZE, 1)).slice(0, 5)], untilIndex: 32 },
      };
      for (let index = 30; index < 60; index++) {
        const logits = normalLogits(SIZE, 1);
        const after = [...OUTPUT, ...drafts];
        const grown = { ...rules, history: new TokenHistory(PROMPT, after) };
        const plain = sampleOne(logits, { ...kind, rules: grown, index });
        const spec = { ...kind, rules, index: index - drafts.length };
        expect(sample([logits], [target(spec, 0, Int32Array.from(drafts))]).tokens[0]).toBe(plain);
      }
    }
  });

  test('a mask is asked once for each draw, with the drafts before it', () => {
    open(SIZE);
    const mask = new ListMask([17, 400], SIZE);
    const logits = normalLogits(SIZE, 1);
    const drafts = Int32Array.of(17, 400);
    const targets = [0, 1, 2].map((j) =>
      target({ seed: [1, 2], rules: { ...NO_RULES, mask } }, 0, drafts.subarray(0, j)),
    );
    const { tokens } = sample([logits, logits, logits], targets);
    expect(mask.asked).toEqual([[], [17], [17, 400]]);
    expect([...tokens].every((token) => token === 17 || token === 400)).toBe(true);
  });
});

describe('greedy', () => {
  test.each([0, 1e-5, 1e-30, 1e-45])(
    'temperature %d draws the likeliest token, also of large logits',
    (temperature) => {
      open(SIZE);
      const logits = normalLogits(SIZE, 1e4);
      const [best] = sortedIds(logits);
      expect(sampleOne(logits, { temperature, seed: [1, 2] })).toBe(best);
      expect(sampleOne(logits, { temperature })).toBe(best);
    },
  );

  test('of equal logits the lowest id', () => {
    open(SIZE);
    expect(sampleOne(new Float32Array(SIZE).fill(0.5), { temperature: 0 })).toBe(0);
  });

  test('follows the rules', () => {
    open(SIZE);
    const logits = normalLogits(SIZE, 1);
    const [first = 0, second = 0, third = 0] = sortedIds(logits);
    const forbidden = { ids: [first, second], untilIndex: 4 };
    const greedy = (rules: Partial<LogitsRules>, index: number) =>
      sampleOne(logits, { temperature: 0, index, rules: { ...NO_RULES, ...rules } });
    expect(greedy({ forbidden }, 3)).toBe(third);
    expect(greedy({ forbidden }, 4)).toBe(first);
    expect(greedy({ bias: [[600, 50]] }, 0)).toBe(600);
    const penalties = { history: new TokenHistory([second], [first, first]) };
    expect(greedy({ ...penalties, frequencyPenalty: 10 }, 0)).toBe(second);
    expect(greedy({ ...penalties, repetitionPenalty: 9 }, 0)).toBe(third);
  });
});

describe('log probabilities', () => {
  test.each([SIZE, 151_936])('of the raw distribution over %i tokens equal log-softmax in float64', (size) => {
    open(size, 2);
    const logits = normalLogits(size, 3);
    const expected = logSoftmax(logits);
    const order = sortedIds(logits);
    const forbidden = { ids: order.slice(0, 50), untilIndex: 1 };
    const specs = [
      { logprobs: 20, temperature: 0.3, seed: [1, 2] as const, rules: { ...NO_RULES, forbidden } },
      { logprobs: 0, temperature: 0 },
    ];
    const { tokens, logprobs } = sample(
      [logits, logits],
      specs.map((spec, row) => target(spec, row)),
    );
    const [ruledRow, greedyRow] = logprobs ?? [];
    const drawn = tokens[0] ?? 0;
    expect(order.indexOf(drawn)).toBeGreaterThanOrEqual(50);
    expectClose(ruledRow?.logprob, expected[drawn]);
    expect(ruledRow?.top.map(({ id }) => id)).toEqual(order.slice(0, 20));
    for (const { id, logprob } of ruledRow?.top ?? []) expectClose(logprob, expected[id]);
    expect(greedyRow?.top).toEqual([]);
    expectClose(greedyRow?.logprob, expected[order[0] ?? 0]);
  });

  test('a long tail beside one likely token is not lost to rounding', () => {
    open(151_936, 1);
    const logits = normalLogits(151_936, 0.1);
    logits[9] = 13;
    const [entry] = sample([logits], [target({ logprobs: 1, temperature: 0 })]).logprobs ?? [];
    expect(entry?.top[0]?.id).toBe(9);
    expectClose(entry?.logprob, logSoftmax(logits)[9]);
  });

  test('only rows that ask get them, as many as they ask for', () => {
    open(SIZE);
    const logits = Array.from({ length: 4 }, (_, i) => normalLogits(SIZE, 1, i + 1));
    const asked = [null, 5, null, 2];
    const targets = asked.map((count, row) => target({ logprobs: count }, row));
    const found: readonly (TokenLogprobs | null)[] | null = sample(logits, targets).logprobs;
    expect(found?.map((entry) => entry?.top.length ?? null)).toEqual(asked);
    expect(
      sample(
        logits,
        targets.map(({ row }) => target({}, row)),
      ).logprobs,
    ).toBeNull();
  });

  test('a vocabulary smaller than the alternatives asked for', () => {
    open(5);
    const [entry] = sample([normalLogits(5, 1)], [target({ logprobs: 20 })]).logprobs ?? [];
    expect(entry?.top).toHaveLength(5);
  });
});

function expectClose(found: number | undefined, expected: number | undefined): void {
  expect(Math.abs((found ?? NaN) - (expected ?? NaN))).toBeLessThan(1e-5);
}

describe('rows that cannot go on are named', () => {
  const methods: readonly Partial<SampleSpec>[] = [{ temperature: 0 }, { seed: [1, 2] }, { topP: 0.9 }, {}];

  test.each(methods.flatMap((spec) => [NaN, Infinity, -Infinity].map((value) => ({ spec, value }))))(
    'a logit is $value: $spec',
    ({ spec, value }) => {
      open(SIZE);
      const rows = [normalLogits(SIZE, 1), normalLogits(SIZE, 1)];
      rows[1]?.fill(value, 613, 614);
      const targets = [target(spec, 4), target({ ...spec, logprobs: 1 }, 7)];
      expect(sample(rows, targets).failures).toEqual(new Map([[7, 'the model gave logits that are not finite']]));
    },
  );

  test.each(methods)('rules forbid every token: %j', (spec) => {
    open(SIZE);
    const rows = [normalLogits(SIZE, 1), normalLogits(SIZE, 1)];
    const mask = new ListMask([], SIZE);
    const targets = [target(spec, 4), target({ ...spec, rules: { ...NO_RULES, mask } }, 7)];
    expect(sample(rows, targets).failures).toEqual(new Map([[7, 'rules forbid every token']]));
    const single = new ListMask([321], SIZE);
    expect(sampleOne(normalLogits(SIZE, 1), { ...spec, rules: { ...NO_RULES, mask: single } })).toBe(321);
  });

  test('more draws than the buffer holds are refused', () => {
    open(SIZE, 1);
    expect(() => sampler.sample([target({}), target({})])).toThrow('2 draws, at most 1');
  });
});

/** This machine's, that writes down which rows of the whole vocabulary are read. */
function watchedBackend(read: string[]): SamplerBackend {
  const memory = Memory.allocate(ROWS * SIZE * 4);
  const watched = (session: RowSession): RowGraphRunner => ({
    run: (logits, rows) => session.run(logits, rows),
    floats: (name, row) => {
      const values = session.floats(name, row);
      if (values.length === SIZE) read.push(name);
      return values;
    },
    ints: (name, row) => session.ints(name, row),
    free: () => session.free(),
  });
  return {
    ...{ target: 'cpu', logits: memory.pointer, chunkRows: 4 },
    row: (index) => new Float32Array(memory.buffer, index * SIZE * 4, SIZE),
    changed: () => {},
    value: () => NaN,
    open: (graph, rows) => watched(new RowSession(graph, rows)),
    free: () => memory.free(),
  };
}

test('rows of the whole vocabulary, which a GPU has to copy, are read only where the likeliest tokens do not decide', () => {
  const read: string[] = [];
  sampler = new Sampler({ vocabSize: SIZE, maxRows: ROWS, backend: watchedBackend(read) });
  const sharp = normalLogits(SIZE, 1).map((logit, id) => (id < 5 ? 20 + id : logit));
  const seeded = { seed: [1, 2] as const, logprobs: 5 };
  const { tokens, logprobs } = sample([sharp, sharp], [target({ ...seeded, topP: 0.9 }), target(seeded, 1)]);
  expect(read).toEqual([]);
  const expected = logSoftmax(sharp);
  tokens.forEach((token, i) => expect(logprobs?.[i]?.logprob).toBeCloseTo(expected[token] ?? NaN, 4));
  // Every token as likely: neither the draw nor its log probability is among the candidates, but it is copied once.
  const flat = new Float32Array(SIZE);
  const [token = 0] = sample([flat], [target({ ...seeded, topP: 0.99 })]).tokens;
  expect(token).toBeGreaterThanOrEqual(64);
  expect(read).toEqual(['probs', 'logprobs']);
});
