import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engineRequest, EngineWorld } from '../../support/engine-world.ts';
import { hashContinuation, HashRunner } from '../../support/hash-runner.ts';
import { golden, openFixture } from '../model/plans.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const RUNNERS = (['slots', 'blocks'] as const).flatMap((kind) => ([1, 2] as const).map((depth) => ({ kind, depth })));

describe.each(RUNNERS)('with KV in $kind and $depth plan(s) in flight', (shape) => {
  test('every request gets exactly its own continuation and one end', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 5, maxStepTokens: 12 }));
    const prompts = range(23).map((i) => range(1 + ((i * 7) % 40)).map((j) => (i * 13 + j) % 256));
    prompts.forEach((promptIds, i) =>
      world.engine.add(engineRequest(`r${i}`, { promptIds, params: { maxTokens: 1 + (i % 9) } })),
    );
    world.runDry();
    prompts.forEach((prompt, i) => {
      expect(world.of(`r${i}`).ids).toEqual(hashContinuation(prompt, 1 + (i % 9)));
      expect(world.of(`r${i}`).ends.map(({ type }) => type)).toEqual(['done']);
    });
    expect(world.engine.load).toMatchObject({ running: 0, waiting: 0, queuedPrefillTokens: 0, kv: { live: 0 } });
  });

  test('no step runs more tokens than its budget, and decodes never wait for a prompt', () => {
    const runner = new HashRunner({ ...shape, slots: 4, maxStepTokens: 10 });
    const world = new EngineWorld(runner);
    world.engine.add(engineRequest('stream', { promptIds: [1], params: { maxTokens: 30 } }));
    for (let i = 0; i < 4; i++) world.step();
    world.engine.add(engineRequest('long', { promptIds: range(120), params: { maxTokens: 2 } }));
    const before = runner.plans.length;
    world.runDry();
    expect(Math.max(...runner.plans.map(({ tokens }) => tokens))).toBeLessThanOrEqual(10);
    const during = runner.plans.slice(before, before + 12);
    expect(during.every((plan) => plan.rows.some((row) => row.ids.length === 1))).toBe(true);
    expect(during.some(({ tokens }) => tokens === 10)).toBe(true);
  });

  test('a row that cannot be drawn from ends its own request and no other', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 5, failRow: new Map([[4, 1]]) }));
    for (const i of range(3)) world.engine.add(engineRequest(`r${i}`, { promptIds: [i + 1, 2, 3], n: 1 + (i % 2) }));
    world.runDry();
    expect(range(3).map((i) => world.of(`r${i}`).ends.map(({ type }) => type))).toEqual([
      ['done'],
      ['error'],
      ['done'],
    ]);
    expect(world.of('r1').ends).toMatchObject([{ code: 'model_error' }]);
    for (const i of [0, 2]) expect(world.of(`r${i}`).ids).toEqual(hashContinuation([i + 1, 2, 3], 16));
    expect(world.engine.load).toMatchObject({ running: 0, waiting: 0, kv: { live: 0 } });
  });

  test('drafts take no token of a step from a prompt', () => {
    const runner = new HashRunner({ ...shape, slots: 4, context: 1, maxStepTokens: 16 });
    const world = new EngineWorld(runner);
    const drafting = { speculation: 'n-gram' as const, params: { maxTokens: 400 } };
    for (const i of range(2)) world.engine.add(engineRequest(`stream ${i}`, { promptIds: range(8), ...drafting }));
    const drafted = () => world.steps.reduce((sum, { draftedTokens }) => sum + draftedTokens, 0);
    while (world.of('stream 0').ids.length < 100) world.step();
    const [before, draftedBefore] = [world.steps.length, drafted()];
    world.engine.add(engineRequest('long', { promptIds: range(140), params: { maxTokens: 1 } }));
    while (world.of('long').ids.length === 0) world.step();
    // 14 of the 16 tokens each: what the two decodes leave.
    expect(world.steps.length - before).toBeLessThanOrEqual(10 + shape.depth);
    if (shape.depth === 1) expect(draftedBefore).toBeGreaterThan(0);
    const duringPrompt = drafted();
    world.runDry();
    if (shape.depth === 1) expect(drafted()).toBeGreaterThan(duringPrompt);
    expect(Math.max(...runner.plans.map(({ tokens }) => tokens))).toBeLessThanOrEqual(16);
    for (const i of range(2)) expect(world.of(`stream ${i}`).ids).toEqual(hashContinuation(range(8), 400, 1));
  });

  test('a failing step ends its requests and no others, frees all KV, and the next request works', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 5, failAt: new Set([6]), maxStepTokens: 4 }));
    for (const i of range(3)) world.engine.add(engineRequest(`r${i}`, { promptIds: [i + 1, 2, 3] }));
    for (let i = 0; i < 3; i++) world.step();
    // A long prompt waits outside the failing plan's budget.
    world.engine.add(engineRequest('late', { promptIds: range(40) }));
    world.runDry();
    const failed = range(3).filter((i) => world.of(`r${i}`).ends[0]?.type === 'error');
    expect(failed.length).toBeGreaterThan(0);
    for (const i of failed) expect(world.of(`r${i}`).ends).toMatchObject([{ type: 'error', code: 'model_error' }]);
    for (const id of ['r0', 'r1', 'r2', 'late']) {
      const prompt = id === 'late' ? range(40) : [Number(id[1]) + 1, 2, 3];
      const { ids, ends } = world.of(id);
      expect(ends).toHaveLength(1);
      expect(ids).toEqual(hashContinuation(prompt, ids.length));
    }
    expect(world.engine.load.kv.live).toBe(0);
    world.engine.add(engineRequest('next', { promptIds: [9, 9] }));
    world.runDry();
    expect(world.of('next').ids).toEqual(hashContinuation([9, 9], 16));
  });

  test('a lost device ends every request that runs and every one that is tried after it, each once', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 2, loseAt: 6 }));
    for (const i of range(5)) world.engine.add(engineRequest(`r${i}`, { promptIds: [i + 1, 2, 3] }));
    world.runDry();
    for (const i of range(5)) {
      const { ids, ends } = world.of(`r${i}`);
      expect(ends).toMatchObject([{ type: 'error', code: 'worker_lost' }]);
      expect(ids).toEqual(hashContinuation([i + 1, 2, 3], ids.length));
    }
    expect(world.of('r0').ids.length).toBeGreaterThan(0);
    expect(world.engine.load).toMatchObject({ running: 0, waiting: 0, kv: { live: 0 } });
  });

  test('deadlines end requests in the queue and in mid-stream', () => {
    let now = 0;
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 1 }), { now: () => now });
    world.engine.add(engineRequest('running', { promptIds: [1], params: { maxTokens: 1000 }, deadlineMs: 100 }));
    world.engine.add(engineRequest('queued', { promptIds: [2], deadlineMs: 50 }));
    for (now = 0; world.engine.busy; now += 10) world.step();
    expect(world.of('queued').ends).toMatchObject([{ code: 'deadline_exceeded', usage: { completionTokens: 0 } }]);
    expect(world.of('running').ends).toMatchObject([{ code: 'deadline_exceeded' }]);
    expect(world.of('running').ids).toEqual(hashContinuation([1], world.of('running').ids.length));
  });

  test('under KV pressure sequences are preempted, and every output equals the undisturbed run', () => {
    const runner = new HashRunner({ ...shape, slots: 6, maxModelLen: 128, capacityTokens: 160 });
    const world = new EngineWorld(runner);
    const prompts = range(9).map((i) => range(10 + i).map((j) => (i * 31 + j * 7) % 256));
    prompts.forEach((promptIds, i) =>
      world.engine.add(engineRequest(`r${i}`, { promptIds, params: { maxTokens: 60 }, priority: i === 8 ? 1 : 0 })),
    );
    world.runDry();
    expect(world.steps.reduce((sum, { preemptions }) => sum + preemptions, 0)).toBeGreaterThan(3);
    prompts.forEach((prompt, i) => expect(world.of(`r${i}`).ids).toEqual(hashContinuation(prompt, 60)));
    expect(world.engine.load.kv.live).toBe(0);
  });

  test('a prompt seen before is reused to the token; another tenant computes its own', () => {
    const runner = new HashRunner({ ...shape, slots: 4 });
    const world = new EngineWorld(runner);
    const prompt = range(50);
    const ask = (id: string, promptIds: number[], cacheSalt: string) => {
      world.engine.add(engineRequest(id, { promptIds, cacheSalt, params: { maxTokens: 3 } }));
      world.runDry();
      expect(world.of(id).ids).toEqual(hashContinuation(promptIds, 3));
      return world.of(id).ends[0]?.usage.cachedTokens;
    };
    expect(ask('cold', prompt, 'a')).toBe(0);
    // Of a block, fewer than 16 tokens are not looked for.
    const [all, some] = shape.kind === 'slots' ? [49, 37] : [48, 32];
    expect(ask('same', prompt, 'a')).toBe(all);
    expect(ask('longer', [...prompt.slice(0, 37), 200, 201], 'a')).toBe(some);
    expect(ask('stranger', prompt, 'b')).toBe(0);
    expect(world.engine.load.kv).toMatchObject({ prefixQueries: 189, prefixHits: all + some });
  });

  test('an attempt that goes on where another ended counts no more as cached than its prompt has', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 4 }));
    const prompt = range(50);
    const output = hashContinuation(prompt, 60);
    for (const [id, generatedIds] of [
      ['first', []],
      ['second', output.slice(0, 40)],
    ] as const) {
      world.engine.add(engineRequest(id, { promptIds: prompt, generatedIds, params: { maxTokens: 60 } }));
      world.runDry();
    }
    expect(world.of('second').ids).toEqual(output.slice(40));
    expect(world.of('second').ends).toMatchObject([{ usage: { promptTokens: 50, cachedTokens: 50 } }]);
  });

  test('without prefix caching nothing is reused', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 4 }), { policy: { prefixCaching: false } });
    for (const id of ['one', 'two']) {
      world.engine.add(engineRequest(id, { promptIds: range(50) }));
      world.runDry();
      expect(world.of(id).ends).toMatchObject([{ usage: { cachedTokens: 0 } }]);
    }
  });

  test('requests that arrive together compute a shared prefix once', () => {
    const runner = new HashRunner({ ...shape, slots: 8, maxStepTokens: 64 });
    const world = new EngineWorld(runner);
    const shared = range(200).map((i) => (i * 3) % 256);
    for (const i of range(8))
      world.engine.add(engineRequest(`r${i}`, { promptIds: [...shared, i, i], params: { maxTokens: 4 } }));
    world.runDry();
    for (const i of range(8)) expect(world.of(`r${i}`).ids).toEqual(hashContinuation([...shared, i, i], 4));
    const computed = runner.plans.reduce((sum, { tokens }) => sum + tokens, 0);
    expect(computed).toBeLessThan(200 + 8 * (2 + 8) + 64);
  });

  test('n choices share the prompt, end one by one, and the request once', () => {
    const runner = new HashRunner({ ...shape, slots: 4 });
    const world = new EngineWorld(runner);
    const prompt = range(150);
    world.engine.add(engineRequest('many', { promptIds: prompt, n: 3, params: { maxTokens: 5 } }));
    world.runDry();
    for (const choice of range(3)) expect(world.of('many', choice).ids).toEqual(hashContinuation(prompt, 5));
    const usage = { promptTokens: 150, completionTokens: 15, cachedTokens: 0 };
    expect(world.of('many').ends).toMatchObject([{ type: 'done', usage }]);
    expect(runner.plans.reduce((sum, { tokens }) => sum + tokens, 0)).toBeLessThan(200);
  });

  test('an abort ends all choices at once', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 4 }));
    world.engine.add(engineRequest('many', { promptIds: range(20), n: 3, params: { maxTokens: 500 } }));
    for (let i = 0; i < 10; i++) world.step();
    world.engine.abort('many', { code: 'request_cancelled', message: 'x' });
    world.step();
    world.runDry();
    expect(world.of('many').ends).toMatchObject([{ type: 'error', code: 'request_cancelled' }]);
    expect(world.engine.load).toMatchObject({ running: 0, waiting: 0, kv: { live: 0 } });
  });

  test('a request that can never fit the KV cache is refused at once', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 2, maxModelLen: 64, capacityTokens: 64 }));
    world.engine.add(engineRequest('huge', { promptIds: range(50), params: { maxTokens: 15 } }));
    world.step();
    expect(world.of('huge').ends).toMatchObject([{ type: 'error', code: 'context_length_exceeded' }]);
    expect(world.engine.busy).toBe(false);
  });

  test('drafts change no token, whatever they are worth', () => {
    const prompts = range(12).map((i) => range(20 + i).map((j) => (i * 17 + j) % 256));
    const run = (speculation: 'off' | 'n-gram', context: number) => {
      const runner = new HashRunner({ ...shape, slots: 5, context, maxStepTokens: 48 });
      const world = new EngineWorld(runner);
      prompts.forEach((promptIds, i) =>
        world.engine.add(engineRequest(`r${i}`, { promptIds, speculation, params: { maxTokens: 90 } })),
      );
      world.runDry();
      const usage = world.of('r0').ends[0]?.usage;
      return { ids: prompts.map((_, i) => world.of(`r${i}`).ids), steps: runner.plans.length, usage };
    };
    for (const context of [1, 2, Infinity]) {
      const off = run('off', context);
      const on = run('n-gram', context);
      expect(on.ids).toEqual(off.ids);
      expect(on.ids[0]).toEqual(hashContinuation(prompts[0] ?? [], 90, context));
      // With a plan in flight the last token is not known, so there is nothing to draft from.
      if (context > 1 || shape.depth > 1) continue;
      expect(on.steps).toBeLessThan(off.steps * 0.6);
      expect(on.usage?.acceptedTokens).toBeGreaterThan(20);
    }
  });

  test('drafts that hold but come after the end of a choice are not accepted', () => {
    // A loop of 16 tokens, three times.
    const promptIds = hashContinuation([0], 600, 1).slice(-48);
    const output = hashContinuation(promptIds, 16, 1);
    for (const length of range(7).map((i) => i + 2)) {
      const world = new EngineWorld(new HashRunner({ ...shape, slots: 4, context: 1 }));
      const params = { stopTokenIds: output.slice(length - 1, length) };
      world.engine.add(engineRequest('a', { promptIds, speculation: 'n-gram', params }));
      world.runDry();
      const { ids, ends } = world.of('a');
      expect(ids).toEqual(output.slice(0, length));
      // The first token comes of the prompt; then each row verifies five drafts and draws a token of the model's own.
      const accepted = length < 8 ? Math.min(length - 1, 5) : 6;
      expect(ends).toMatchObject([{ usage: { acceptedTokens: shape.depth === 1 ? accepted : 0 } }]);
      expect(world.steps.reduce((sum, { acceptedTokens }) => sum + acceptedTokens, 0)).toBe(
        ends[0]?.usage.acceptedTokens,
      );
    }
  });

  test('tenants share the batch: one with a long queue does not hold up another', () => {
    const world = new EngineWorld(new HashRunner({ ...shape, slots: 2 }));
    for (const i of range(30)) world.engine.add(engineRequest(`heavy${i}`, { promptIds: [i + 1, 2], tenant: 'heavy' }));
    for (let i = 0; i < 40; i++) world.step();
    world.engine.add(engineRequest('light', { promptIds: [200, 201], tenant: 'light' }));
    world.runDry();
    const order = [...range(30).map((i) => `heavy${i}`), 'light'];
    const before = order.filter((id) => world.of(id).ends.length === 1).length;
    expect(before).toBe(31);
    const finished = world.finished.indexOf('light');
    expect(finished).toBeLessThan(12);
  });

  test('arrivals and aborts in any order: others are untouched, every request ends once, all KV comes back', () => {
    const action = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          type: fc.constant('add' as const),
          // Few tokens, so that prefixes are shared and n-grams repeat.
          prompt: fc.array(fc.nat(1), { minLength: 1, maxLength: 40 }),
          maxTokens: fc.integer({ min: 1, max: 24 }),
          priority: fc.integer({ min: -1, max: 1 }),
          tenant: fc.constantFrom('a', 'b'),
          speculation: fc.constantFrom('off' as const, 'n-gram' as const),
        }),
      },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('abort' as const), which: fc.nat(40) }) },
      { weight: 4, arbitrary: fc.constant({ type: 'step' as const }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), fc.constantFrom(2, Infinity), (actions, context) => {
        const runner = new HashRunner({
          ...shape,
          slots: 3,
          maxStepTokens: 8,
          maxModelLen: 64,
          capacityTokens: 96,
          context,
        });
        const world = new EngineWorld(runner);
        const requests: { readonly prompt: readonly number[]; readonly maxTokens: number }[] = [];
        for (const step of actions) {
          if (step.type === 'step') world.step();
          else if (step.type === 'abort')
            world.engine.abort(`r${step.which}`, { code: 'request_cancelled', message: 'x' });
          else {
            const { type: _, prompt, maxTokens, tenant, ...rest } = step;
            const request = { ...rest, tenant, cacheSalt: tenant, promptIds: prompt, params: { maxTokens } };
            world.engine.add(engineRequest(`r${requests.length}`, request));
            requests.push(step);
          }
        }
        world.runDry();
        world.step();
        requests.forEach(({ prompt, maxTokens }, i) => {
          const { ids, ends } = world.of(`r${i}`);
          expect(ends).toHaveLength(1);
          if (ends[0]?.type === 'done') expect(ids).toHaveLength(maxTokens);
          expect(ids).toEqual(hashContinuation(prompt, ids.length, context));
        });
        expect(world.engine.load.kv.live).toBe(0);
      }),
      { numRuns: 250 },
    );
  });
});

test('a continued request emits only new tokens, the same ones as undisturbed', () => {
  const world = new EngineWorld(new HashRunner({ slots: 2, depth: 1 }));
  const whole = hashContinuation([5, 6, 7], 12);
  const generatedIds = whole.slice(0, 5);
  world.engine.add(engineRequest('again', { promptIds: [5, 6, 7], generatedIds, params: { maxTokens: 12 } }));
  world.runDry();
  expect(world.of('again').ids).toEqual(whole.slice(5));
  expect(world.of('again').deltas[0]?.offset).toBe(5);
  expect(world.of('again').ends).toMatchObject([{ usage: { promptTokens: 3, completionTokens: 12 } }]);
});

describe('on a real model', () => {
  const { cases } = golden('tiny-llama');

  test('greedy tokens of all prompts at once, in chunks and few slots, equal transformers', () => {
    const runner = openFixture('tiny-llama', { maxNumSeqs: 7, maxStepTokens: 48 });
    const world = new EngineWorld(runner);
    cases.forEach(({ prompt, expected }, i) =>
      world.engine.add(engineRequest(`r${i}`, { promptIds: prompt, params: { maxTokens: expected.length } })),
    );
    world.runDry();
    runner.dispose();
    cases.forEach(({ expected }, i) => expect(world.of(`r${i}`).ids).toEqual(expected));
  });

  test('the same seed draws the same tokens alone and in a batch; another seed does not', () => {
    const runner = openFixture('tiny-llama', { maxNumSeqs: 8, maxStepTokens: 64 });
    const generate = (ids: readonly string[], seed: number) => {
      const world = new EngineWorld(runner);
      ids.forEach((id, i) => {
        const params = { temperature: 0.9, topP: 0.95, seed: i === 0 ? seed : 100 + i };
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

  test('log probabilities go to who asked for them, not to others of the same steps', () => {
    const runner = openFixture('tiny-llama', { maxNumSeqs: 4, maxStepTokens: 64 });
    const world = new EngineWorld(runner);
    const params = { maxTokens: 4 };
    world.engine.add(engineRequest('asked', { promptIds: [5, 6, 7], params: { ...params, logprobs: 1 } }));
    world.engine.add(engineRequest('other', { promptIds: [8, 9], params }));
    world.runDry();
    runner.dispose();
    const { deltas } = world.of('asked');
    expect(deltas.flatMap(({ ids }) => ids)).toHaveLength(4);
    for (const { ids, logprobs } of deltas) expect(logprobs?.map(({ id }) => id)).toEqual(ids);
    expect(world.of('other').deltas.map(({ logprobs }) => logprobs)).toEqual([null, null, null, null]);
  });
});
