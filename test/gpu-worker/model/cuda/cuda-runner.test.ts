/** The runner for GPUs over stand-ins for all that runs there: plans in flight, and what is left of them when one fails. */
import { beforeEach, expect, test } from 'vitest';
import { PLACEHOLDER } from '../../../../gpu-worker/engine/step-plan.ts';
import type { StepPlan } from '../../../../gpu-worker/engine/step-plan.ts';
import { CudaRunner } from '../../../../gpu-worker/model/cuda/cuda-runner.ts';
import type { CudaRunnerParts } from '../../../../gpu-worker/model/cuda/cuda-runner.ts';
import { GraphMemory } from '../../../../gpu-worker/model/cuda/graph-memory.ts';
import type { PartLayout } from '../../../../gpu-worker/model/cuda/plan-inputs.ts';
import { Xoshiro128 } from '../../../../gpu-worker/sample/random.ts';
import { GREEDY } from '../plans.ts';

const DRAWS = 8;
const LOSS = 'unspecified launch failure (719)';

/** What fails from now on, by name. */
const broken = new Set<'model' | 'wait' | 'device'>();
/** Of each plan that ran, where it looked for its first token among draws and inputs. */
const looked: number[] = [];
let runner: CudaRunner;
let disposals: number;

function fail(part: 'model' | 'wait' | 'device'): void {
  if (broken.has(part)) throw new Error(LOSS);
}

function slot() {
  const words = new Int32Array(4096);
  return {
    ...{ words, floats: new Float32Array(words.buffer), ruleWords: new Int32Array(64) },
    ...{ tokens: new Int32Array(DRAWS), checks: new Float32Array(DRAWS) },
    begun: { record: () => {} },
    done: { record: () => {}, wait: () => fail('wait'), since: () => 1.5 },
  };
}

beforeEach(() => {
  broken.clear();
  looked.length = 0;
  disposals = 0;
  let sent = slot();
  const memory = {
    ...{ slots: [slot(), slot()], sizes: { maxDraws: DRAWS }, sendRules: () => {}, sendTokens: () => {} },
    send: (now: typeof sent) => void (sent = now),
    // Tokens tell how many plans had run when they were drawn.
    receive: (now: typeof sent, draws: number) => now.tokens.fill(10 * looked.length, 0, draws),
  };
  const limits = { vocabSize: 100, maxModelLen: 64, maxNumSeqs: 2, maxStepTokens: 6, eosIds: [], fingerprint: 'f' };
  const kv = { kind: 'blocks', blocks: 4, blockSize: 16, capacityTokens: 64 };
  const decoder = {
    run: (_: unknown, layout: PartLayout) => {
      fail('model');
      looked.push(sent.words[layout.index] ?? NaN);
    },
  };
  const parts = {
    ...{ info: { ...limits, kv }, memory, decoder, draw: { run: () => {} }, kv: { copy: () => {} } },
    cuda: { synchronize: () => fail('device') },
    rules: {
      pack: (_: unknown, rows: readonly unknown[]) => ({ words: 0, parts: rows.map(() => []) }),
      apply: () => {},
    },
    hostDraw: {
      begin: (draws: number) => ({ tokens: new Int32Array(draws), logprobs: [], failures: new Map(), ms: 0 }),
      draw: (into: { tokens: Int32Array; ms: number }) => {
        into.tokens.fill(42);
        into.ms += 0.5;
      },
    },
    partLimits: { maxDraws: DRAWS, decodesApart: false, maxExpanded: 1000, blockSize: 16 },
    ...{ buckets: { maxRows: 2, maxWidth: 4 }, graphs: new GraphMemory(0, () => 0) },
    ...{ random: new Xoshiro128([1, 2, 3, 4]), onDispose: () => void disposals++ },
  };
  runner = new CudaRunner(parts as unknown as CudaRunnerParts);
});

function plan(id: number, token: number, start = 0): StepPlan {
  const row = { sequence: 7, blocks: Int32Array.of(1), start, ids: Int32Array.of(token), draws: 1, sample: GREEDY };
  return { id, copies: [], drops: [], rows: [row], tokens: 1 };
}

test('two plans are in flight, the second on what the first draws; a third is refused', () => {
  runner.launch(plan(1, 5));
  runner.launch(plan(2, PLACEHOLDER, 1));
  expect(() => runner.launch(plan(3, 5))).toThrow('plan 3 is the third in flight');
  // The first among its own inputs, the second at draw 0 of the plan before.
  expect(looked).toEqual([DRAWS, 0]);
  expect(runner.collect()).toMatchObject({ planId: 1, tokens: Int32Array.of(10), runMs: 1.5, sampleMs: 0 });
  expect(runner.collect()).toMatchObject({ planId: 2, tokens: Int32Array.of(20) });
  expect(() => runner.collect()).toThrow('collect without a launched plan');
});

test('what the host draws is not counted as time of the model', () => {
  const { rows, ...rest } = plan(1, 5);
  const seeded = rows.map((row) => ({ ...row, sample: { ...GREEDY, temperature: 1, seed: [1, 2] as const } }));
  runner.launch({ ...rest, rows: seeded });
  expect(runner.collect()).toMatchObject({ tokens: Int32Array.of(42), runMs: 1, sampleMs: 0.5 });
});

test.each(['model', 'wait'] as const)('when one fails (%s) both are void, and the next plan starts afresh', (part) => {
  runner.launch(plan(1, 5));
  if (part === 'wait') runner.launch(plan(2, PLACEHOLDER, 1));
  broken.add(part);
  expect(() => (part === 'wait' ? runner.collect() : runner.launch(plan(2, PLACEHOLDER, 1)))).toThrow(LOSS);
  broken.clear();
  expect(() => runner.collect()).toThrow('collect without a launched plan');
  expect(() => runner.launch(plan(3, PLACEHOLDER, 1))).toThrow('drew no token for sequence 7');
  expect(runner.lost).toBeNull();
  runner.launch(plan(4, 5));
  expect(runner.collect().planId).toBe(4);
});

test('a plan that contradicts the limits is refused and voids what is in flight, as every failure does', () => {
  runner.launch(plan(1, 5));
  expect(() => runner.launch(plan(2, 100))).toThrow('plan 2: sequence 7: token 100 is outside the vocabulary');
  expect(() => runner.collect()).toThrow('collect without a launched plan');
});

test('a device that does not answer after a failure is lost', () => {
  runner.launch(plan(1, 5));
  broken.add('wait').add('device');
  expect(() => runner.collect()).toThrow(LOSS);
  expect(runner.lost).toBe(LOSS);
});

test('it is disposed of once, with plans in flight and a lost device too', () => {
  runner.launch(plan(1, 5));
  broken.add('device');
  runner.dispose();
  runner.dispose();
  expect(disposals).toBe(1);
  expect(() => runner.launch(plan(2, 5))).toThrow('disposed of');
});
