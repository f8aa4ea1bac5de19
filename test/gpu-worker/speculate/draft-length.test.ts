import { describe, expect, test } from 'vitest';
import { StepCostModel } from '../../../gpu-worker/engine/step-cost.ts';
import { DraftLengths, type DraftRow, type DraftStep } from '../../../gpu-worker/speculate/draft-length.ts';
import { NgramDrafter } from '../../../gpu-worker/speculate/ngram.ts';
import { through } from '../../support/piecewise.ts';
import { seeded } from '../../support/seeded.ts';

/** Milliseconds of a step by the tokens it draws. */
const vnni = through([
  [0, 0],
  [1, 11],
  [4, 17],
  [16, 50],
  [32, 94],
  [256, 700],
]);
const MACHINES: Record<string, (tokens: number) => number> = {
  'CPU with VNNI': vnni,
  'CPU without': (tokens) => 9.8 + 7.9 * tokens,
  H100: (tokens) => 4.9 + 0.028 * tokens,
};
const ROOM = 8;

interface Scene {
  readonly trueMs: (tokens: number) => number;
  readonly batch: number;
  /** Chance that a draft holds, at each step. */
  readonly rate: (step: number) => number;
  readonly steps: number;
}

/** A step of `batch` decoding rows and nothing else. */
function stepOf(batch: number, ms: (tokens: number) => number): DraftStep {
  return { decoding: batch, decodeMs: ms(batch), stepMs: (drafts) => ms(batch + drafts) };
}

/** Output tokens per millisecond when lengths are chosen by `choose`; sequences end after 200 steps. */
function pace({ trueMs, batch, rate, steps }: Scene, lengths: DraftLengths | number): number {
  const random = seeded(7);
  let states = Array.from({ length: batch }, () => new DraftLengths().newState());
  let [tokens, ms] = [0, 0];
  for (let at = 0; at < steps; at++) {
    if (at % 200 === 0 && lengths instanceof DraftLengths) states = states.map(() => lengths.newState());
    const rows: DraftRow[] = states.map((state) => ({ state, matchLength: 5, room: ROOM }));
    const step = stepOf(batch, trueMs);
    const plan = typeof lengths === 'number' ? rows.map(() => lengths) : lengths.plan(rows, step);
    const drafts = plan.reduce((sum, drafted) => sum + drafted, 0);
    ms += trueMs(batch + drafts);
    for (const [i, drafted] of plan.entries()) {
      let accepted = 0;
      while (accepted < drafted && random() < rate(at)) accepted++;
      tokens += 1 + accepted;
      const state = states[i];
      if (typeof lengths !== 'number' && state !== undefined) lengths.record(state, 5, { drafted, accepted });
    }
  }
  return tokens / ms;
}

describe.each(Object.entries(MACHINES))('%s', (_, trueMs) => {
  describe.each([1, 4, 16])('batch %i', (batch) => {
    test.each([0.9, 0.5, 0.05])('acceptance %f: never slower than off, and near the best fixed length', (rate) => {
      const scene: Scene = { trueMs, batch, rate: () => rate, steps: 2000 };
      const fixed = Array.from({ length: ROOM + 1 }, (_, length) => pace(scene, length));
      const auto = pace(scene, new DraftLengths());
      expect(auto / (fixed[0] ?? 0)).toBeGreaterThan(0.97);
      expect(auto / Math.max(...fixed)).toBeGreaterThan(0.93);
    });

    test('acceptance that comes and goes: never slower than off', () => {
      for (const period of [20, 100, 400]) {
        const rate = (step: number) => (step % (2 * period) < period ? 0.9 : 0.02);
        const scene: Scene = { trueMs, batch, rate, steps: 2000 };
        expect(pace(scene, new DraftLengths()) / pace(scene, 0)).toBeGreaterThan(0.97);
      }
    });
  });
});

const gpu = MACHINES['H100'] ?? vnni;
const alone = (ms: (tokens: number) => number) => stepOf(1, ms);
const rowOf = (lengths: DraftLengths, over: Partial<DraftRow> = {}): DraftRow => ({
  state: lengths.newState(),
  matchLength: 5,
  room: ROOM,
  ...over,
});

/** `times` verified rows of 4 drafts of which `accepted` held. */
function teach(lengths: DraftLengths, { state, matchLength }: DraftRow, accepted: number, times = 20): void {
  for (let i = 0; i < times; i++) lengths.record(state, matchLength, { drafted: 4, accepted });
}

describe('a plan', () => {
  test('is all zeros without predictions, without rows, without a proposal and without room', () => {
    const lengths = new DraftLengths();
    expect(lengths.plan([rowOf(lengths)], { decoding: 1, decodeMs: null, stepMs: () => null })).toEqual([0]);
    expect(lengths.plan([], alone(gpu))).toEqual([]);
    expect(lengths.plan([rowOf(lengths, { matchLength: 0 })], alone(gpu))).toEqual([0]);
    expect(lengths.plan([rowOf(lengths, { room: 0 })], alone(gpu))).toEqual([0]);
  });

  test('never exceeds the room', () => {
    const lengths = new DraftLengths();
    for (const room of [1, 2, 5]) {
      const row = rowOf(lengths, { room });
      teach(lengths, row, 4);
      expect(lengths.plan([row], alone(gpu))).toEqual([room]);
    }
  });

  test('gives the likelier row more', () => {
    const lengths = new DraftLengths();
    const [good, fair] = [rowOf(lengths), rowOf(lengths)];
    teach(lengths, good, 4);
    teach(lengths, fair, 1);
    const [more = 0, less = 0] = lengths.plan([good, fair], stepOf(2, gpu));
    expect(more).toBeGreaterThan(less);
  });

  test('a longer match drafts more once it has proved likelier, also in a new sequence', () => {
    const lengths = new DraftLengths();
    teach(lengths, rowOf(lengths, { matchLength: 3 }), 0, 100);
    teach(lengths, rowOf(lengths, { matchLength: 12 }), 4, 100);
    const [short = 0] = lengths.plan([rowOf(lengths, { matchLength: 3 })], alone(vnni));
    const [long = 0] = lengths.plan([rowOf(lengths, { matchLength: 12 })], alone(vnni));
    expect(short).toBe(0);
    expect(long).toBe(ROOM);
    expect(lengths.sharedRate(3)).toBeLessThan(0.1);
    expect(lengths.sharedRate(12)).toBeGreaterThan(0.9);
    expect(lengths.sharedRate(null)).toBe(0.5);
  });

  test('a long chunk in the step does not make poor drafts look cheap', () => {
    const lengths = new DraftLengths();
    const row = rowOf(lengths);
    teach(lengths, row, 0, 60);
    const chunk = 256;
    const withChunk = (drafts: number) => 9.2 + 1.72 * chunk + vnni(1 + drafts);
    expect(lengths.plan([row], { decoding: 1, decodeMs: vnni(1), stepMs: withChunk })).toEqual([0]);
  });
});

describe('probes', () => {
  test('a sequence that stopped drafting comes back when its text begins to repeat', () => {
    const lengths = new DraftLengths();
    const row = rowOf(lengths);
    teach(lengths, row, 0, 60);
    let plans = 0;
    while (plans < 400) {
      const [drafted = 0] = lengths.plan([row], alone(vnni));
      lengths.record(row.state, 5, { drafted, accepted: drafted });
      plans++;
      if (drafted > 2) break;
    }
    expect(plans).toBeLessThan(200);
  });

  test('cost at most about a hundredth of the time, however dear they are', () => {
    for (const batch of [1, 16, 32]) {
      const lengths = new DraftLengths();
      const rows = Array.from({ length: batch }, () => rowOf(lengths));
      for (const row of rows) teach(lengths, row, 0, 60);
      let [ms, plainMs, probes] = [0, 0, 0];
      for (let step = 0; step < 3000; step++) {
        const plan = lengths.plan(rows, stepOf(batch, vnni));
        const drafts = plan.reduce((sum, drafted) => sum + drafted, 0);
        probes += Number(drafts > 0);
        ms += vnni(batch + drafts);
        plainMs += vnni(batch);
        for (const [i, drafted] of plan.entries()) {
          const row = rows[i];
          if (row !== undefined) lengths.record(row.state, 5, { drafted, accepted: 0 });
        }
      }
      expect(probes).toBeGreaterThan(10);
      expect(ms / plainMs).toBeLessThan(1.012);
    }
  });

  test('are not spent on short matches', () => {
    const lengths = new DraftLengths();
    const row = rowOf(lengths, { matchLength: 3 });
    teach(lengths, row, 0, 60);
    for (let step = 0; step < 500; step++) expect(lengths.plan([row], alone(vnni))).toEqual([0]);
  });
});

/** A whole loop: real drafter, costs learned from noisy steps, a "model" that writes a given text. */
function write(text: readonly number[], promptLength: number, mode: 'auto' | number): number {
  const random = seeded(3);
  const lengths = new DraftLengths();
  const costs = new StepCostModel();
  const drafter = new NgramDrafter();
  drafter.reset(Int32Array.from(text.slice(0, promptLength)));
  const state = lengths.newState();
  const features = (tokens: number, draws: number) => ({ tokens, draws, kvTokens: 0 });
  const stepMs = (drafts: number) => costs.predict(features(1 + drafts, 1 + drafts));
  // The prompt comes first, in chunks: by then the costs of tokens are known.
  for (let chunk = 0; chunk < 4; chunk++) costs.observe(features(128, 0), 9.2 + 1.72 * 128);
  let [at, ms] = [promptLength, 0];
  while (at < text.length) {
    const matchLength = drafter.matchLength();
    const room = Math.min(ROOM, text.length - at - 1);
    const [count = 0] =
      mode === 'auto'
        ? lengths.plan([{ state, matchLength, room }], { decoding: 1, decodeMs: stepMs(0), stepMs })
        : [Math.min(mode, room)];
    const drafts = drafter.propose(count);
    let accepted = 0;
    while (accepted < drafts.length && drafts[accepted] === text[at + accepted]) accepted++;
    const spent = vnni(1 + drafts.length) * (0.9 + 0.2 * random());
    costs.observe(features(1 + drafts.length, 1 + drafts.length), spent);
    lengths.record(state, matchLength, { drafted: drafts.length, accepted });
    drafter.observe(text.slice(at, at + accepted + 1));
    at += accepted + 1;
    ms += spent;
  }
  return (text.length - promptLength) / ms;
}

describe('with the real drafter and learned costs', () => {
  const random = seeded(11);
  const draw = (length: number, vocabulary: number) =>
    Array.from({ length }, () => Math.floor(random() ** 2 * vocabulary));

  test.each([4, 8, 50, 1000])('random text over %i tokens: never slower than off', (vocabulary) => {
    const text = draw(3000, vocabulary);
    expect(write(text, 500, 'auto') / write(text, 500, 0)).toBeGreaterThan(0.97);
  });

  test('an edit that repeats its prompt with small changes is much faster, near the best fixed length', () => {
    const prompt = draw(1000, 1000);
    const answer = prompt.map((token, i) => (i % 40 === 39 ? 1001 : token));
    const text = [...prompt, ...answer];
    const fixed = Array.from({ length: ROOM + 1 }, (_, length) => write(text, 1000, length));
    expect(write(text, 1000, 'auto') / (fixed[0] ?? 0)).toBeGreaterThan(1.7);
    expect(write(text, 1000, 'auto') / Math.max(...fixed)).toBeGreaterThan(0.9);
  });
});
