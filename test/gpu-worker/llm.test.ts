import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineClient } from '../../gpu-worker/engine/engine-client.ts';
import { LLM, type GenerationParams, type LLMRequest, type RequestOutput } from '../../gpu-worker/llm.ts';
import { Batch } from '../../gpu-worker/llm/batch.ts';
import { EngineRouter } from '../../gpu-worker/llm/engine-router.ts';
import { RequestMaker } from '../../gpu-worker/llm/request-maker.ts';
import { engineConfigOf } from '../../gpu-worker/config.ts';
import { readGenerationDefaults } from '../../gpu-worker/model/generation-config.ts';
import { toEngineRequest } from '../../gpu-worker/requests.ts';
import { PromptEncoder } from '../../gpu-worker/text/prompt.ts';
import { PROTOCOL_VERSION, type Submit } from '../../shared/protocol.ts';
import { DEFAULT_SAMPLING } from '../../shared/sampling.ts';
import { BYTE_TOKENS } from '../support/engine-world.ts';
import { until } from '../support/stack.ts';
import { thrownBy } from '../support/thrown.ts';

const model = 'test/fixtures/tiny-llama';
const golden = JSON.parse(readFileSync(`${model}.golden.json`, 'utf8')) as {
  readonly cases: readonly { readonly prompt: number[]; readonly expected: number[] }[];
};
const GREEDY = { temperature: 0, topP: 1, topK: 0, repetitionPenalty: 1, ignoreEos: true } as const;
const LONG = { ...GREEDY, maxTokens: 200 } as const;
const chat = [{ role: 'user' as const, content: 'hi' }];

let llm: LLM;
beforeAll(async () => {
  llm = await LLM.load({ model, threads: 2, maxNumSeqs: 4, maxNumBatchedTokens: 256 });
});
afterAll(() => llm.dispose());

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

async function inOrder(outputs: AsyncIterable<RequestOutput>): Promise<readonly RequestOutput[]> {
  return (await collect(outputs)).toSorted((a, b) => a.index - b.index);
}

/** What an iterator throws. */
async function thrownIn(iterable: AsyncIterable<unknown>): Promise<unknown> {
  try {
    for await (const _ of iterable);
  } catch (error) {
    return error;
  }
  throw new Error('the iterator ended well');
}

describe('generate', () => {
  test('equals transformers on every golden prompt, each with its own length', async () => {
    const params = golden.cases.map(({ expected }) => ({ ...GREEDY, maxTokens: expected.length }));
    const outputs = await inOrder(
      llm.generate(
        golden.cases.map(({ prompt }) => prompt),
        params,
      ),
    );
    expect(outputs.map(({ outputs: [first] }) => first?.tokenIds)).toEqual(
      golden.cases.map(({ expected }) => expected),
    );
    expect(outputs.map(({ index }) => index)).toEqual(golden.cases.map((_, i) => i));
    for (const { usage, outputs: choices } of outputs) {
      expect(usage.completionTokens).toBe(choices[0]?.tokenIds.length);
      expect(choices[0]?.finishReason).toBe('length');
    }
  });

  test('text, token ids and messages in one batch, seeded: the same alone, and prompts come back', async () => {
    const prompts = ['abc', [5, 6, 7], chat, 'abc'];
    const params: GenerationParams[] = [1, 2, 3, 1].map((seed) => ({ seed, temperature: 0.9, maxTokens: 12 }));
    const together = await inOrder(llm.generate(prompts, params));
    expect(together.map(({ prompt }) => prompt)).toEqual(prompts);
    expect(together[0]?.outputs).toEqual(together[3]?.outputs);
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await inOrder(llm.generate(prompt, params[i]));
      expect(alone?.outputs).toEqual(together[i]?.outputs);
    }
    const [asChat] = await inOrder(llm.chat(chat, params[2]));
    expect(asChat?.outputs).toEqual(together[2]?.outputs);
  });

  test('n choices: each of its own, all of them again with the same seed', async () => {
    const params = { n: 3, seed: 4, temperature: 1, maxTokens: 10, ignoreEos: true };
    const [first] = await inOrder(llm.generate('abc', params));
    expect(first?.outputs.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(new Set(first?.outputs.map(({ tokenIds }) => tokenIds.join())).size).toBe(3);
    expect(first?.usage).toMatchObject({ promptTokens: 3, completionTokens: 30 });
    const [again] = await inOrder(llm.generate('abc', params));
    expect(again?.outputs).toEqual(first?.outputs);
  });

  test('log probabilities: the drawn token first of its alternatives when greedy', async () => {
    const [output] = await inOrder(llm.generate('abc', { ...GREEDY, maxTokens: 5, logprobs: 3 }));
    const choice = output?.outputs[0];
    expect(choice?.logprobs).toHaveLength(5);
    for (const [i, { id, logprob, top }] of (choice?.logprobs ?? []).entries()) {
      expect(id).toBe(choice?.tokenIds[i]);
      expect(top).toHaveLength(3);
      expect(top[0]).toMatchObject({ id, logprob });
      expect(logprob).toBeLessThan(0);
      expect(top[1]?.logprob).toBeLessThanOrEqual(logprob);
    }
    const [without] = await inOrder(llm.generate('abc', { ...GREEDY, maxTokens: 1 }));
    expect(without?.outputs[0]).toMatchObject({ logprobs: null, reasoning: null });
  });

  test('stop texts end an output before them', async () => {
    const [whole] = await inOrder(llm.generate('abc', { ...GREEDY, maxTokens: 40 }));
    const text = whole?.outputs[0]?.text ?? '';
    const stop = text.replaceAll('\uFFFD', '').slice(4, 5);
    expect(stop).not.toBe('');
    const [cut] = await inOrder(llm.generate('abc', { ...GREEDY, maxTokens: 40, stop }));
    expect(cut?.outputs[0]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finishReason: 'stop' });
  });

  test('no prompts, no outputs', async () => {
    expect(await inOrder(llm.generate([]))).toEqual([]);
  });

  test('a request is what the worker makes of the same one on the bus', async () => {
    const encoder = new PromptEncoder(model, llm.info.vocabSize);
    const defaults = readGenerationDefaults(model);
    const sampling = { ...DEFAULT_SAMPLING, seed: 3, maxTokens: 20, stop: ['x'], ignoreEos: true };
    const request = { prompt: { type: 'chat', messages: chat }, speculation: 'auto', templateValues: {} } as const;
    const submit: Submit = {
      ...{ v: PROTOCOL_VERSION, id: 'a', attempt: 1, shard: 's', shardEpoch: 'e', tenant: 'local', model: 'm' },
      ...{ ...request, prompt: { type: 'chat', messages: chat } },
      ...{ params: sampling, cacheSalt: '', deadlineMs: Infinity, priority: 0 },
    };
    const { vocabSize, eosIds, maxNumSeqs, maxModelLen, kv } = llm.info;
    const limits = {
      ...{
        maxNumSeqs,
        maxModelLen,
        kvTokens: kv.capacityTokens,
        maxWaiting: 8,
        maxQueuedPrefillTokens: 1e6,
        ttftMs: null,
      },
    };
    const rules = { names: ['m'], limits, vocabSize, eosIds, defaults, encoder, tokenBytes: BYTE_TOKENS };
    const idle = { live: 0, queuedPrefillTokens: 0, prefillTokensPerSecond: null, draining: false, nowMs: 0 };
    const { id: _, cacheSalt: _salt, ...served } = toEngineRequest(submit, rules, idle);
    const made = new RequestMaker(llm.info, encoder, defaults).make({
      ...request,
      prompt: { type: 'chat', messages: chat },
      sampling,
    });
    expect(made).toMatchObject(served);
  });
});

describe('refusals', () => {
  const refuse = (...args: unknown[]) => thrownBy(() => Reflect.apply(llm.generate, llm, args));

  test.each([
    ['one object', 'x', { temperature: 3 }, 'params.temperature', /must be at most 2/],
    ['one of several', ['x', 'y'], [{}, { stop: ['a', ''] }], 'params[1].stop[1]', /must have a length of at least 1/],
    ['a wrong type', 'x', { maxTokens: 'many' }, 'params.maxTokens', /must be a number, not "many"/],
    ['a fraction', 'x', { n: 1.5 }, 'params.n', /must be an integer/],
    ['a bias', 'x', { logitBias: { 1: 101 } }, 'params.logitBias', /must be at most 100/],
    ['a bias of no token', 'x', { logitBias: { a: 1 } }, 'params.logitBias', /must map token ids/],
    ['an unknown one', 'x', { bestOf: 3 }, 'params.bestOf', /is not a generation parameter; remove it/],
    ['two that disagree', 'x', { minTokens: 9, maxTokens: 3 }, 'params.minTokens', /above the limit of 3/],
    ['too few', ['x', 'y'], [{}], 'params', /has 1 entries for 2 prompts/],
    ['an empty prompt', ['x', ''], {}, 'prompts[1]', /must not be empty/],
    ['a prompt of no kind', ['x', 5], {}, 'prompts[1]', /must be a text, a list of token ids or a list of messages/],
    ['a role', [[{ role: 'tool', content: 'x' }]], {}, 'prompts[0][0].role', /must be system or user or assistant/],
    ['a field of a message', [[{ ...chat[0], tool_calls: [] }]], {}, 'prompts[0][0].tool_calls', /is not supported/],
  ])('%s: the field is named before anything runs', (_, prompts, params, param, message) => {
    const error = refuse(prompts, params);
    expect(error).toMatchObject({ name: 'MillraceError', code: 'invalid_value', param });
    expect(String(error)).toMatch(message);
    expect(String(error)).toContain(`\`${param}\``);
  });

  test.each([
    [Array.from({ length: 300 }, () => 5), {}, 'context_length_exceeded', /`prompts\[1\]`: .*256 tokens/],
    [[5], { maxTokens: 300 }, 'context_length_exceeded', /1 in `prompt`, 300 in `maxTokens`/],
    [[512], {}, 'invalid_value', /`prompt\[0\]` is 512/],
    [[5], { stopTokenIds: [600] }, 'invalid_value', /`stopTokenIds` has token id 600/],
  ])('what the model cannot take ends the batch, with its place: %#', async (prompt, params, code, message) => {
    const error = await thrownIn(llm.generate([[5], prompt], [{ maxTokens: 2 }, params]));
    expect(error).toMatchObject({ code });
    expect(String(error)).toMatch(message);
  });

  test('options of load', async () => {
    await expect(LLM.load({ model, maxModelLen: 3 })).rejects.toThrow(
      /maxModelLen is "3": it must be an integer from 16/,
    );
    await expect(LLM.load({ model, memoryUtilization: 2 })).rejects.toThrow(
      /memoryUtilization .* above 0 and at most 1/,
    );
    await expect(LLM.load({ model, maxNumSeqs: 64, maxNumBatchedTokens: 32 })).rejects.toThrow(
      /maxNumBatchedTokens is "32": it must be at least 64.*lower maxNumSeqs/,
    );
    const strange = { model, weightType: 'float16' };
    await expect(LLM.load(strange)).rejects.toThrow(
      /weightType is not an option of LLM.load: it has model, revision, quantization/,
    );
    await expect(LLM.load({ model: 'test/fixtures' })).rejects.toThrow(/there is no config.json in that folder/);
  });
});

describe('run', () => {
  test('reads only a little ahead, loses nothing to a slow consumer, and fails one request alone', async () => {
    let read = 0;
    function* requests(): Generator<LLMRequest> {
      for (let i = 0; i < 100; i++) {
        read++;
        yield { prompt: i === 50 ? [] : [i + 3], params: { ...GREEDY, maxTokens: 3 } };
      }
    }
    const seen = new Set<number>();
    for await (const result of llm.run(requests())) {
      seen.add(result.index);
      expect(result.type).toBe(result.index === 50 ? 'error' : 'done');
      if (result.type === 'error') expect(result.error).toMatchObject({ code: 'invalid_value', param: 'prompt' });
      // Time for the engine to end everything that it was given.
      if (seen.size % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
      // At the engine 2 × 4, as many results, and the one that is read next.
      expect(read - seen.size).toBeLessThanOrEqual(17);
    }
    expect(seen.size).toBe(100);
  });

  test('what is no request at all fails alone too', async () => {
    const good = { prompt: [5], params: { ...GREEDY, maxTokens: 2 } };
    const strange = [null, undefined, 'a text', 7, [5], {}];
    const results = await collect(llm.run([good, ...strange, good] as LLMRequest[]));
    const inTurn = results.toSorted((a, b) => a.index - b.index);
    expect(inTurn.map((result) => (result.type === 'error' ? result.error.param : 'done'))).toEqual([
      ...['done', 'request', 'request', 'request', 'request', 'prompt', 'prompt', 'done'],
    ]);
    const error = llm.refusal(null as unknown as LLMRequest);
    expect(error).toMatchObject({ code: 'invalid_value', message: '`request` must be an object with `prompt`.' });
  });

  test('a source that throws ends the iterator with its error', async () => {
    async function* broken(): AsyncGenerator<LLMRequest> {
      yield { prompt: 'a', params: LONG };
      throw new Error('the disk is gone');
    }
    expect(String(await thrownIn(llm.run(broken())))).toContain('the disk is gone');
  });
});

describe('stream', () => {
  test('deltas make up the output of generate, the last one has usage and timings', async () => {
    const params = { seed: 7, temperature: 0.8, maxTokens: 30, n: 2, logprobs: 1, ignoreEos: true };
    const [whole] = await inOrder(llm.generate(chat, params));
    const deltas = await collect(llm.stream(chat, params));
    for (const { index, text, tokenIds, logprobs } of whole?.outputs ?? []) {
      const own = deltas.filter((delta) => delta.index === index);
      expect(own.map((delta) => delta.text).join('')).toBe(text);
      expect(own.flatMap((delta) => delta.tokenIds)).toEqual(tokenIds);
      expect(own.flatMap((delta) => delta.logprobs)).toEqual(logprobs);
      expect(own.map((delta) => delta.finishReason).filter((reason) => reason !== null)).toEqual(['length']);
    }
    // More than one for each choice; those that wait are merged.
    expect(deltas.length).toBeGreaterThan(2);
    expect(deltas.filter(({ end }) => end !== null)).toHaveLength(1);
    expect(deltas.at(-1)?.end?.usage).toMatchObject({ completionTokens: 60 });
  });

  test('a slow consumer gets fewer, longer deltas', async () => {
    const ids: number[] = [];
    let deltas = 0;
    const all = llm.totals.outputTokens + 64;
    for await (const { tokenIds } of llm.stream([417, 140], { ...GREEDY, maxTokens: 64 })) {
      deltas++;
      ids.push(...tokenIds);
      await until(() => llm.totals.outputTokens === all);
    }
    expect(deltas).toBeLessThanOrEqual(2);
    const [whole] = await inOrder(llm.generate([417, 140], { ...GREEDY, maxTokens: 64 }));
    expect(ids).toEqual(whole?.outputs[0]?.tokenIds);
  });

  test('refuses at the call', () => {
    expect(thrownBy(() => llm.stream('x', { topP: 2 }))).toMatchObject({ param: 'params.topP' });
    expect(thrownBy(() => llm.stream(''))).toMatchObject({ param: 'prompt' });
  });
});

describe('cancelling', () => {
  const prompts = Array.from({ length: 40 }, (_, i) => [i + 3]);

  /** Output tokens that come beside those of a request of 50 steps: none when all others have been given up. */
  async function stillComputed(): Promise<number> {
    // What was given up before it came is given up by the time that it ends.
    await inOrder(llm.generate([7], { ...GREEDY, maxTokens: 1 }));
    const { outputTokens } = llm.totals;
    await inOrder(llm.generate([8], { ...GREEDY, maxTokens: 50, speculation: 'off' }));
    return llm.totals.outputTokens - outputTokens - 50;
  }

  test('a signal ends a batch with its reason, and the engine is free', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const batch = async function* () {
      for await (const output of llm.generate(prompts, LONG, { signal })) {
        // With the first one: most of the others have not begun.
        controller.abort(new Error('enough'));
        yield output;
      }
    };
    expect(String(await thrownIn(batch()))).toContain('enough');
    expect(await stillComputed()).toBe(0);
    const late = llm.generate('x', LONG, { signal });
    expect(String(await thrownIn(late))).toContain('enough');
  });

  test('leaving the loop ends the rest', async () => {
    for await (const { outputs } of llm.generate(prompts, [
      { ...GREEDY, maxTokens: 1 },
      ...prompts.slice(1).map(() => LONG),
    ])) {
      expect(outputs[0]?.tokenIds).toHaveLength(1);
      break;
    }
    expect(await stillComputed()).toBe(0);
  });

  test('a stream, by signal and by leaving', async () => {
    const controller = new AbortController();
    const read = async () => {
      for await (const _ of llm.stream('x', LONG, { signal: controller.signal })) controller.abort();
    };
    await expect(read()).rejects.toMatchObject({ name: 'AbortError' });
    for await (const _ of llm.stream('x', LONG)) break;
    expect(await stillComputed()).toBe(0);
  });
});

describe('ends', () => {
  test('await using: what runs ends in an error, and nothing can be asked any more', async () => {
    const stages: string[] = [];
    let running: Promise<unknown> | null = null;
    let later: AsyncIterable<unknown> | null = null;
    {
      await using short = await LLM.load({ model, threads: 1, onProgress: ({ stage }) => stages.push(stage) });
      // More than can be done while this waits.
      const prompts = Array.from({ length: 1000 }, () => [5]);
      running = thrownIn(short.generate(prompts, LONG));
      later = short.generate('x');
      await until(() => short.totals.outputTokens > 0);
    }
    expect([stages[0], stages.at(-1)]).toEqual(['weights', 'ready']);
    expect(await running).toMatchObject({ code: 'request_cancelled' });
    expect(await thrownIn(later)).toMatchObject({ code: 'request_cancelled' });
  });

  test('an engine that fails ends every iterator with the reason', async () => {
    const { model: folder, ...config } = engineConfigOf({ model, threads: 1 });
    const engine = await EngineClient.start({ ...config, folder });
    const router = new EngineRouter(engine);
    const maker = new RequestMaker(
      engine.info,
      new PromptEncoder(folder, engine.info.vocabSize),
      readGenerationDefaults(folder),
    );
    const make = () =>
      maker.make({
        prompt: { type: 'tokens', ids: [5] },
        ...{
          sampling: { ...DEFAULT_SAMPLING, maxTokens: 200, ignoreEos: true },
          speculation: 'auto',
          templateValues: {},
        },
      });
    // More than can be done before it fails.
    const source = Array.from({ length: 1000 }, (_, i) => i);
    const batch = new Batch({ source, router, make, lookAhead: 8, signal: undefined });
    const failure = thrownIn(batch.results());
    await until(() => router.totals.outputTokens > 0);
    // An id that is there already is a bug of its owner, and ends the engine.
    for (let i = 0; i < 2; i++) engine.add({ ...make(), id: 'twice' });
    expect(await failure).toMatchObject({ code: 'server_error' });
    expect(String(await failure)).toMatch(/The engine failed: .*twice is here already.*Load the model again/);
    expect(thrownBy(() => router.submit(make(), { delta() {}, end() {}, fail() {} }))).toMatchObject({
      code: 'server_error',
    });
    await router.shutdown();
  });
});
