/**
 * What prompt lookup costs where there is nothing to look up: words in random order without a repeated run of three
 * tokens, forced by a logits mask on both sides as in ngram-repetitive.ts, and what random weights write by themselves.
 */
import type { EngineRequest, Speculation } from '../../../gpu-worker/engine/messages.ts';
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import { engineRequest } from '../../support/engine-world.ts';
import type { Bench } from './bench.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { Scripts } from './script-mask.ts';
import { compareSpeculation, DRAWS, type Draw, type SpeculationCell } from './speculation.ts';
import { plainIds } from './texts.ts';

const FULL = { batches: [1, 4, 16], promptTokens: 128, outputTokens: 192 };
const QUICK: typeof FULL = { batches: [1, 2], promptTokens: 32, outputTokens: 24 };
const AT_LEAST = 0.97;

export function ngramPlain(bench: Bench): Promise<readonly Figure[]> {
  const { batches, promptTokens, outputTokens } = bench.size.quick ? QUICK : FULL;
  const { model } = bench;
  const { vocabSize } = model.runner.info;
  const tokenizer = new Tokenizer(model.tokenizerFolder);
  const scripts = new Scripts(vocabSize);
  const encode = (text: string) => tokenizer.encodePlain(text);
  const texts = Array.from({ length: Math.max(...batches) }, (_, i) => {
    return plainIds(i + 1, promptTokens + outputTokens, encode);
  });
  const forced = (key: string, speculation: Speculation, batch: number): readonly EngineRequest[] =>
    texts.slice(0, batch).map((ids, i) => {
      scripts.set(`${key} ${i}`, ids.subarray(promptTokens));
      const promptIds = ids.subarray(0, promptTokens);
      return engineRequest(`${key} ${i}`, { promptIds, speculation, params: { maxTokens: outputTokens } });
    });
  const free = (key: string, speculation: Speculation, batch: number, draw: Draw): readonly EngineRequest[] =>
    Array.from({ length: batch }, (_, i) => {
      const params = { maxTokens: outputTokens, seed: i, ...DRAWS[draw] };
      const promptIds = randomIds(`ngram-plain ${i}`, promptTokens, vocabSize);
      return engineRequest(`${key} ${i}`, { promptIds, speculation, params });
    });
  const cells = batches.flatMap((batch): readonly SpeculationCell[] => {
    const shared = { batch, atLeast: AT_LEAST };
    const details = { promptTokens, outputTokens };
    return [
      {
        ...{ ...shared, name: `n-gram on words, batch ${batch}`, free: false, details: { ...details, forced: true } },
        requests: (key, speculation) => forced(key, speculation, batch),
      },
      {
        ...{ ...shared, name: `n-gram, free, batch ${batch}`, free: true, details: { ...details, forced: false } },
        requests: (key, speculation, draw) => free(key, speculation, batch, draw),
      },
    ];
  });
  return compareSpeculation(bench, { model, scripts, cells });
}
