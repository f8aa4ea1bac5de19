/** Speculation on real models with float32 weights changes no token: greedy and seeded, alone and batched, whatever is drafted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineSampling } from '../../../gpu-worker/engine/messages.ts';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { engineRequest, EngineWorld } from '../../support/engine-world.ts';
import { fixture, openFixture } from '../model/plans.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const SAMPLINGS = {
  greedy: { temperature: 0 },
  'seeded at T = 0.7': { temperature: 0.7, topP: 0.95 },
  'seeded with penalties': { temperature: 0.7, repetitionPenalty: 1.1, presencePenalty: 0.3 },
} satisfies Record<string, Partial<EngineSampling>>;

interface Run {
  readonly speculation: 'off' | 'n-gram' | 'auto';
  /** Requests in the engine at once. */
  readonly together: number;
  readonly params: Partial<EngineSampling>;
}

interface Outcome {
  readonly ids: readonly (readonly number[])[];
  readonly accepted: number;
  readonly drafted: number;
}

function generate(
  runner: ModelRunner,
  prompts: readonly Int32Array[],
  { speculation, together, params }: Run,
): Outcome {
  const ids: (readonly number[])[] = [];
  let [accepted, drafted] = [0, 0];
  for (let first = 0; first < prompts.length; first += together) {
    const world = new EngineWorld(runner);
    const some = prompts.slice(first, first + together);
    some.forEach((promptIds, i) => {
      const seed = first + i;
      world.engine.add(engineRequest(`r${i}`, { promptIds, speculation, params: { maxTokens: 24, ...params, seed } }));
    });
    world.runDry();
    some.forEach((_, i) => {
      const { ids: output, ends } = world.of(`r${i}`);
      ids.push(output);
      accepted += ends[0]?.usage.acceptedTokens ?? 0;
      drafted += ends[0]?.usage.draftedTokens ?? 0;
    });
  }
  return { ids, accepted, drafted };
}

describe('200 prompts on a tiny model that repeats itself', () => {
  let runner: ModelRunner;
  beforeAll(() => void (runner = openFixture('tiny-llama', { maxNumSeqs: 16, maxStepTokens: 128 })));
  afterAll(() => runner.dispose());
  const prompts = range(200).map((i) => Int32Array.from(range(4 + (i % 37)).map((j) => 3 + ((i * 31 + j * 17) % 500))));
  // Three tokens are likely and the others are not: the drafter always has something to say, right or wrong.
  const logitBias = [7, 8, 9].map((id) => [id, 12] as const);

  test.each(Object.entries(SAMPLINGS))('%s', (_, sampling) => {
    const params = { ...sampling, logitBias };
    const plain = generate(runner, prompts, { speculation: 'off', together: 16, params });
    const batched = generate(runner, prompts, { speculation: 'n-gram', together: 16, params });
    const alone = generate(runner, prompts, { speculation: 'n-gram', together: 1, params });
    expect(batched.drafted).toBeGreaterThan(1000);
    // Many drafts hold and many do not.
    expect(batched.accepted).toBeGreaterThan(100);
    expect(batched.drafted - batched.accepted).toBeGreaterThan(100);
    expect(batched.ids).toEqual(plain.ids);
    expect(alone.ids).toEqual(plain.ids);
  });
});

test('the embedded model edits and extracts faster with drafts that pay, and writes the same', () => {
  const encoder = new PromptEncoder(fixture('millrace-mini'), 6144);
  const code =
    'function checkFrame(value: number[]): number {\n  let size = 0;\n  for (const n of value) size += n;\n  return size;\n}';
  const questions = [
    `Please rename \`size\` to \`total\`.\n\n\`\`\`ts\n${code}\n\`\`\``,
    'Read the text and answer with JSON only (quantity, product, order).\nText: Order LF-74821: 10 x monitor for 697 dollars.',
    'Explain transformers',
    'Tell me a short story about a bird.',
  ];
  const prompts = questions.map((content) => encoder.encode({ type: 'chat', messages: [{ role: 'user', content }] }));
  const runner = openFixture('millrace-mini', { maxNumSeqs: 4, maxModelLen: 512 });
  const params = { temperature: 0, maxTokens: 48, eosIds: runner.info.eosIds };
  const plain = generate(runner, prompts, { speculation: 'off', together: 4, params });
  const drafted = generate(runner, prompts, { speculation: 'n-gram', together: 4, params });
  const auto = generate(runner, prompts, { speculation: 'auto', together: 1, params });
  runner.dispose();
  expect(drafted.ids).toEqual(plain.ids);
  expect(auto.ids).toEqual(plain.ids);
  expect(drafted.accepted).toBeGreaterThan(10);
});
