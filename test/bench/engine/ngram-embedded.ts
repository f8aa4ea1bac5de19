/** What prompt lookup gains with a real model: the embedded one, on held-out edits and extractions of its corpus. */
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { engineRequest } from '../../support/engine-world.ts';
import type { Bench } from './bench.ts';
import type { Figure } from './measure.ts';
import { Scripts } from './script-mask.ts';
import { compareSpeculation, DRAWS, type SpeculationCell } from './speculation.ts';

const FULL = { batches: [1, 4, 16], requests: 32, outputTokens: 128 };
const QUICK: typeof FULL = { batches: [1, 2], requests: 2, outputTokens: 16 };
const KINDS = new Set(['edit', 'extract']);

const exampleSchema = v.object({
  kind: v.string(),
  messages: v.optional(
    v.array(v.object({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() })),
    [],
  ),
});

/** Greedy to the end of the answer; acceptance is in the details. */
export async function ngramEmbedded(bench: Bench): Promise<readonly Figure[]> {
  const { batches, requests: count, outputTokens } = bench.size.quick ? QUICK : FULL;
  using model = bench.openEmbedded();
  const { vocabSize, eosIds, maxModelLen } = model.runner.info;
  const fits = ({ length }: Int32Array) => length + outputTokens <= maxModelLen;
  const prompts = heldOutPrompts(model.tokenizerFolder, vocabSize).filter(fits).slice(0, count);
  const cells = batches.map((batch): SpeculationCell => {
    return {
      ...{ name: `n-gram, embedded, batch ${batch}`, batch, atLeast: null, free: true },
      requests: (key, speculation, draw) =>
        prompts.map((promptIds, i) => {
          const params = { maxTokens: outputTokens, eosIds, seed: i, ...DRAWS[draw] };
          return engineRequest(`${key} ${i}`, { promptIds, speculation, params });
        }),
      details: { forced: false, requests: prompts.length, promptTokens: prompts.map(({ length }) => length) },
    };
  });
  return await compareSpeculation(bench, { model, scripts: new Scripts(vocabSize), cells });
}

/** Up to the first answer. */
function heldOutPrompts(folder: string, vocabSize: number): readonly Int32Array[] {
  const lines = readFileSync(new URL('../../../infra/model/heldout.jsonl', import.meta.url), 'utf8')
    .trimEnd()
    .split('\n');
  const encoder = new PromptEncoder(folder, vocabSize);
  return lines.flatMap((line) => {
    const { kind, messages } = v.parse(exampleSchema, JSON.parse(line));
    const end = messages.findIndex(({ role }) => role === 'assistant');
    return KINDS.has(kind) && end > 0 ? [encoder.encode({ type: 'chat', messages: messages.slice(0, end) })] : [];
  });
}
