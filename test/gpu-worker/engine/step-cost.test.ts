import { describe, expect, test } from 'vitest';
import { kvTokensRead, StepCostModel, type StepFeatures } from '../../../gpu-worker/engine/step-cost.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { through } from '../../support/piecewise.ts';
import { seeded } from '../../support/seeded.ts';

const cpuDecode = through([
  [0, 0],
  [1, 11],
  [4, 17],
  [16, 50],
  [32, 94],
]);
const h100 = through([
  [0, 4.8],
  [1, 4.88],
  [16, 5.04],
  [64, 5.71],
  [256, 10.2],
  [1024, 33.2],
  [2048, 61.4],
  [4096, 123],
]);

/** True milliseconds of a step of `decodes` rows and one chunk of `chunk` prompt tokens, as measured. */
interface Machine {
  readonly ms: (decodes: number, chunk: number) => number;
  readonly maxDecodes: number;
  readonly maxChunk: number;
}

const MACHINES: Record<string, Machine> = {
  'CPU with VNNI, chunks apart': {
    ms: (d, c) => cpuDecode(d) + (c > 0 ? 9.2 + 1.72 * c : 0),
    maxDecodes: 32,
    maxChunk: 256,
  },
  'CPU without': { ms: (d, c) => 9.8 + 7.9 * d + 4.6 * c, maxDecodes: 32, maxChunk: 256 },
  H100: { ms: (d, c) => h100(d + c), maxDecodes: 256, maxChunk: 2048 },
};

type Load = (random: () => number) => readonly [decodes: number, chunk: number];

class Bench {
  readonly model = new StepCostModel();
  slowdown = 1;
  readonly #machine: Machine;
  readonly #random = seeded(1);

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  shape(decodes: number, chunk: number, context = 300): StepFeatures {
    const kvTokens = decodes * context + kvTokensRead(0, chunk);
    return { tokens: decodes + chunk, draws: decodes, kvTokens };
  }

  /** Runs steps with 10 % noise and now and then a hiccup; the median error of the predictions made before each. */
  run(steps: number, load: Load): number {
    const errors: number[] = [];
    for (let i = 0; i < steps; i++) {
      const [decodes, chunk] = load(this.#random);
      const features = this.shape(decodes, chunk, 100 + 400 * this.#random());
      const noise = 1 + 0.1 * (this.#random() + this.#random() + this.#random() - 1.5) * 2;
      const hiccup = this.#random() < 0.02 ? 6 : 1;
      const ms = this.#machine.ms(decodes, chunk) * this.slowdown * noise * hiccup;
      const predicted = this.model.predict(features);
      if (predicted !== null) errors.push(Math.abs(predicted - ms) / ms);
      this.model.observe(features, ms);
    }
    return errors.sort((a, b) => a - b)[errors.length >> 1] ?? Infinity;
  }
}

const upTo = (random: () => number, most: number) => 1 + Math.floor(random() * most);

describe.each(Object.entries(MACHINES))('%s', (_, machine) => {
  const mixed: Load = (random) =>
    random() < 0.3
      ? [random() < 0.3 ? 0 : upTo(random, machine.maxDecodes), upTo(random, machine.maxChunk)]
      : [upTo(random, machine.maxDecodes), 0];

  test('a mixed load is predicted within 20 % from the first steps on', () => {
    const bench = new Bench(machine);
    expect(bench.run(40, mixed)).toBeLessThan(0.2);
    expect(bench.run(400, mixed)).toBeLessThan(0.12);
    expect(bench.model.medianError()).toBeLessThan(0.12);
  });

  test.each([
    [1, 0],
    [4, 0],
    [16, 0],
    [32, 0],
    [0, 256],
  ])('%i decodes and %i prompt tokens are within 20 % of the table', (decodes, chunk) => {
    const bench = new Bench(machine);
    bench.run(500, mixed);
    const ratio = (bench.model.predict(bench.shape(decodes, chunk)) ?? 0) / machine.ms(decodes, chunk);
    expect(Math.abs(ratio - 1)).toBeLessThan(0.2);
  });

  test('a machine that becomes twice as slow, and fast again, is followed within 40 steps', () => {
    const bench = new Bench(machine);
    bench.run(400, mixed);
    for (const slowdown of [2, 1]) {
      bench.slowdown = slowdown;
      bench.run(40, mixed);
      expect(bench.run(100, mixed)).toBeLessThan(0.12);
    }
  });

  test('a slowdown seen in decodes alone raises the prediction for prompts', () => {
    const bench = new Bench(machine);
    bench.run(400, mixed);
    bench.slowdown = 2;
    bench.run(100, () => [8, 0]);
    const predicted = bench.model.predict(bench.shape(0, machine.maxChunk)) ?? 0;
    expect(predicted / (2 * machine.ms(0, machine.maxChunk))).toBeGreaterThan(0.8);
    expect(predicted / (2 * machine.ms(0, machine.maxChunk))).toBeLessThan(1.25);
  });

  test('thousands of decode steps do not make it forget what a prompt costs', () => {
    const bench = new Bench(machine);
    bench.run(400, mixed);
    bench.run(5000, (random) => [upTo(random, 4), 0]);
    expect(bench.run(20, () => [0, machine.maxChunk])).toBeLessThan(0.3);
  });

  test('no coefficient is negative', () => {
    const bench = new Bench(machine);
    for (let round = 0; round < 50; round++) {
      bench.run(10, mixed);
      const coefficients = Object.values(bench.model.coefficients() ?? {});
      expect(coefficients).toHaveLength(4);
      for (const coefficient of coefficients) expect(coefficient).toBeGreaterThanOrEqual(0);
    }
  });
});

test('a drawn token that costs more than a prompt token is known for it, in drafts never seen before', () => {
  const model = new StepCostModel();
  const ms = (tokens: number, draws: number) => 9.8 + 4.6 * tokens + 3.3 * draws;
  const random = seeded(5);
  for (let step = 0; step < 400; step++) {
    const [draws, chunk] = [upTo(random, 16), random() < 0.3 ? upTo(random, 64) : 0];
    const shape = { tokens: draws + chunk, draws, kvTokens: draws * (100 + 400 * random()) };
    model.observe(shape, ms(shape.tokens, draws) * (0.95 + 0.1 * random()));
  }
  const drafted = model.predict({ tokens: 80, draws: 80, kvTokens: 4800 }) ?? 0;
  expect(drafted / ms(80, 80)).toBeGreaterThan(0.85);
  expect(drafted / ms(80, 80)).toBeLessThan(1.15);
});

describe('little data', () => {
  const decode = (rows: number): StepFeatures => ({ tokens: rows, draws: rows, kvTokens: 100 * rows });

  test('nothing is predicted before the third step', () => {
    const model = new StepCostModel();
    for (let step = 0; step < 3; step++) {
      expect(model.predict(decode(1))).toBeNull();
      expect(model.medianError()).toBeNull();
      expect(model.coefficients()).toBeNull();
      model.observe(decode(1), 11);
    }
    expect(model.predict(decode(1))).toBeCloseTo(11);
  });

  test('with decodes of one row alone a prompt is thought long, never as cheap as a decode', () => {
    const model = new StepCostModel();
    for (let step = 0; step < 200; step++) model.observe(decode(1), 11);
    expect(model.predict({ tokens: 256, draws: 0, kvTokens: kvTokensRead(0, 256) })).toBeGreaterThan(450);
  });

  test('times that are none are not learned', () => {
    const model = new StepCostModel();
    for (const ms of [0, -1, NaN, Infinity]) model.observe(decode(1), ms);
    expect(model.coefficients()).toBeNull();
  });

  test('an idle clock jump of an hour moves the prediction little', () => {
    const model = new StepCostModel();
    for (let step = 0; step < 100; step++) model.observe(decode(1 + (step % 8)), 8 + 2 * (step % 8));
    const before = model.predict(decode(4)) ?? 0;
    model.observe(decode(4), 3_600_000);
    expect((model.predict(decode(4)) ?? 0) / before).toBeLessThan(1.15);
  });
});

test('a row reads the positions before it, and half of its own', () => {
  expect(kvTokensRead(100, 1)).toBe(100.5);
  expect(kvTokensRead(0, 256)).toBe(32_768);
});

test('an observation takes microseconds', () => {
  const model = new StepCostModel();
  const ms = cpuMs(() => {
    for (let i = 0; i < 20_000; i++) model.observe({ tokens: i % 37, draws: i % 37, kvTokens: i % 999 }, 5 + (i % 37));
  });
  // About half a microsecond each.
  expect(ms / 20_000).toBeLessThan(0.02);
});
