/**
 * What prompt lookup gains on repetitive text: edits of source files and extraction into JSON. Random weights write no
 * real text, so on both sides a logits mask forces the output along the answer, token by token; the model runs in full
 * for every token and every draft. Each draw pays for its mask, which a real greedy answer does not.
 */
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import { engineRequest } from '../../support/engine-world.ts';
import type { Bench } from './bench.ts';
import type { Figure } from './measure.ts';
import { Scripts } from './script-mask.ts';
import { compareSpeculation, type SpeculationCell } from './speculation.ts';
import { editTasks, extractionTasks, type TextTask } from './texts.ts';

const FULL = { batches: [1, 4, 16], chars: 480, records: 7, outputTokens: 96 };
const QUICK: typeof FULL = { batches: [1, 2], chars: 120, records: 2, outputTokens: 24 };
const AT_LEAST: Readonly<Record<number, number>> = { 1: 2, 4: 1.2, 16: 0.97 };

export function ngramRepetitive(bench: Bench): Promise<readonly Figure[]> {
  const { batches, chars, records, outputTokens } = bench.size.quick ? QUICK : FULL;
  const { model } = bench;
  const tokenizer = new Tokenizer(model.tokenizerFolder);
  const scripts = new Scripts(model.runner.info.vocabSize);
  const most = Math.max(...batches);
  const kinds: Readonly<Record<string, readonly TextTask[]>> = {
    edit: editTasks(most, chars),
    extract: extractionTasks(most, records),
  };
  const cells = Object.entries(kinds).flatMap(([kind, tasks]) => {
    const encoded = tasks.map(({ prompt, answer }) => encode(tokenizer, { prompt, answer, outputTokens }));
    return batches.map((batch): SpeculationCell => {
      const used = encoded.slice(0, batch);
      return {
        ...{ name: `n-gram on ${kind}, batch ${batch}`, batch, atLeast: AT_LEAST[batch] ?? null, free: false },
        requests: (key, speculation) =>
          used.map(({ promptIds, script }, i) => {
            scripts.set(`${key} ${i}`, script);
            return engineRequest(`${key} ${i}`, { promptIds, speculation, params: { maxTokens: outputTokens } });
          }),
        details: {
          ...{ forced: true, differentTexts: batch, outputTokens },
          promptTokens: used.map(({ promptIds }) => promptIds.length),
        },
      };
    });
  });
  return compareSpeculation(bench, { model, scripts, cells });
}

function encode(
  tokenizer: Tokenizer,
  { prompt, answer, outputTokens }: TextTask & { readonly outputTokens: number },
): { readonly promptIds: readonly number[]; readonly script: Int32Array } {
  const script = tokenizer.encodePlain(answer);
  if (script.length < outputTokens) throw new Error(`an answer has ${script.length} tokens, not ${outputTokens}`);
  return { promptIds: tokenizer.encodePlain(prompt), script: Int32Array.from(script.slice(0, outputTokens)) };
}
