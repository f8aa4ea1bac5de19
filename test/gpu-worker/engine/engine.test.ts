import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drawKeyed } from '../../../gpu-worker/sample/keyed.ts';
import { engineRequest, EngineWorld } from '../../support/engine-world.ts';
import { hashContinuation, HashRunner } from '../../support/hash-runner.ts';
import { golden, openFixture } from '../model/plans.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.each([1, 2] as const)('with %i plans in flight', (depth) => {
  test('every request gets exactly its own continuation and one end', () => {
    const runner = new HashRunner({ slots: 5, depth });
    const world = new EngineWorld(runner, { maxStepTokens: 12 });
    const prompts = range(23).map((i) => range(1 + ((i * 7) % 40)).map((j) => (i * 13 + j) % 256));
    prompts.forEach((promptIds, i) =>
      world.engine.add(engineRequest(`r${i}`, { promptIds, params: { maxTokens: 1 + (i % 9) } })),
    );
    world.runDry();
    prompts.forEach((prompt, i) => {
      expect(world.of(`r${i}`).ids).toEqual(hashContinuation(prompt, 1 + (i % 9)));
      expect(world.of(`r${i}`).ends.map(({ type }) => type)).toEqual(['done']);
    });
    expect(world.engine.load).toEqual({ running: 0, waiting: 0, queuedPrefillTokens: 0, kvTokens: 0, freeSlots: 5 });
  });

  test('no step runs more tokens than its budget, and decodes never wait for a prompt', () => {
    const runner = new HashRunner({ slots: 4, depth });
    const world = new EngineWorld(runner, { maxStepTokens: 10 });
    world.engine.add(engineRequest('stream', { promptIds: [1], params: { maxTokens: 30 } }));
    for (let i = 0; i < 4; i++) world.step();
    world.engine.add(engineRequest('long', { promptIds: range(120), params: { maxTokens: 2 } }));
    const before = runner.plans.length;
    world.runDry();
    expect(Math.max(...runner.plans.map(({ tokens }) => tokens))).toBeLessThanOrEqual(10);
    const during = runner.plans.slice(before, before + 12);
    expect(during.every((plan) => plan.rows.some((row) => row.ids.length === 1))).toBe(true);
  });

  test('a failing step ends its requests, frees all slots, and the next request works', () => {
    const world = new EngineWorld(new HashRunner({ slots: 3, depth, failAt: new Set([4]) }));
    for (const i of range(3)) world.engine.add(engineRequest(`r${i}`, { promptIds: [i + 1, 2, 3] }));
    world.runDry();
    for (const i of range(3)) {
      expect(world.of(`r${i}`).ends).toMatchObject([{ type: 'error', code: 'model_error' }]);
    }
    expect(world.engine.load.freeSlots).toBe(3);
    world.engine.add(engineRequest('next', { promptIds: [9, 9] }));
    world.runDry();
    expect(world.of('next').ids).toEqual(hashContinuation([9, 9], 16));
  });

  test('deadlines end requests in the queue and in mid-stream', () => {
    let now = 0;
    const world = new EngineWorld(new HashRunner({ slots: 1, depth }), { now: () => now });
    world.engine.add(engineRequest('running', { promptIds: [1], params: { maxTokens: 1000 }, deadlineMs: 100 }));
    world.engine.add(engineRequest('queued', { promptIds: [2], deadlineMs: 50 }));
    for (now = 0; world.engine.busy; now += 10) world.step();
    expect(world.of('queued').ends).toMatchObject([{ code: 'deadline_exceeded', usage: { completionTokens: 0 } }]);
    expect(world.of('running').ends).toMatchObject([{ code: 'deadline_exceeded' }]);
    expect(world.of('running').ids).toEqual(hashContinuation([1], world.of('running').ids.length));
  });

  test('arrivals and aborts in any order: others are untouched, every request ends once, all slots come back', () => {
    const action = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          type: fc.constant('add' as const),
          prompt: fc.array(fc.nat(255), { minLength: 1, maxLength: 30 }),
          maxTokens: fc.integer({ min: 1, max: 12 }),
          priority: fc.integer({ min: -1, max: 1 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('abort' as const), which: fc.nat(40) }) },
      { weight: 4, arbitrary: fc.constant({ type: 'step' as const }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const world = new EngineWorld(new HashRunner({ slots: 3, depth }), { maxStepTokens: 8 });
        const requests: { readonly prompt: readonly number[]; readonly maxTokens: number }[] = [];
        for (const step of actions) {
          if (step.type === 'step') world.step();
          else if (step.type === 'abort')
            world.engine.abort(`r${step.which}`, { code: 'request_cancelled', message: 'x' });
          else {
            const { prompt, maxTokens, priority } = step;
            world.engine.add(
              engineRequest(`r${requests.length}`, { promptIds: prompt, params: { maxTokens }, priority }),
            );
            requests.push(step);
          }
        }
        world.runDry();
        world.step();
        requests.forEach(({ prompt, maxTokens }, i) => {
          const { ids, ends } = world.of(`r${i}`);
          expect(ends).toHaveLength(1);
          if (ends[0]?.type === 'done') expect(ids).toHaveLength(maxTokens);
          expect(ids).toEqual(hashContinuation(prompt, ids.length));
        });
        expect(world.engine.load.freeSlots).toBe(3);
      }),
      { numRuns: 150 },
    );
  });
});

test('a continued request emits only new tokens, the same ones as undisturbed', () => {
  const world = new EngineWorld(new HashRunner({ slots: 2, depth: 1 }));
  const whole = hashContinuation([5, 6, 7], 12);
  const request = engineRequest('again', {
    promptIds: [5, 6, 7],
    generatedIds: whole.slice(0, 5),
    params: { maxTokens: 12 },
  });
  world.engine.add(request);
  world.of('again').ids.push(...whole.slice(0, 5));
  world.runDry();
  expect(world.of('again').ids).toEqual(whole);
  expect(world.of('again').ends).toMatchObject([{ usage: { promptTokens: 3, completionTokens: 12 } }]);
});

describe('on a real model', () => {
  const { cases } = golden('tiny-llama');

  test('greedy tokens of all prompts at once, in chunks and few slots, equal transformers', () => {
    const runner = openFixture('tiny-llama', { slots: 7, maxStepTokens: 48, draw: drawKeyed });
    const world = new EngineWorld(runner, { maxStepTokens: 48 });
    cases.forEach(({ prompt, expected }, i) =>
      world.engine.add(
        engineRequest(`r${i}`, { promptIds: prompt, params: { maxTokens: expected.length, ignoreEos: true } }),
      ),
    );
    world.runDry();
    runner.dispose();
    cases.forEach(({ expected }, i) => expect(world.of(`r${i}`).ids).toEqual(expected));
  });

  test('the same seed draws the same tokens alone and in a batch; another seed does not', () => {
    const runner = openFixture('tiny-llama', { slots: 8, maxStepTokens: 64, draw: drawKeyed });
    const generate = (ids: readonly string[], seed: number) => {
      const world = new EngineWorld(runner);
      ids.forEach((id, i) => {
        const params = { temperature: 0.9, topP: 0.95, seed: i === 0 ? seed : 100 + i, ignoreEos: true };
        world.engine.add(engineRequest(id, { promptIds: cases[i]?.prompt ?? [1], params }));
      });
      world.runDry();
      return world.of('first').ids;
    };
    const alone = generate(['first'], 7);
    expect(generate(['first', ...range(20).map((i) => `other${i}`)], 7)).toEqual(alone);
    expect(generate(['first'], 8)).not.toEqual(alone);
    runner.dispose();
  });
});
