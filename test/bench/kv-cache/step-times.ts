/** Times steps of a runner whose slots all hold the same text: single tokens of a batch, and a prompt's chunks. */
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { PlanRow } from '../../../gpu-worker/engine/step-plan.ts';
import type { KvCopy } from '../../../gpu-worker/kv/kv-cache.ts';
import { randomIds } from '../engine/random-ids.ts';
import { median } from '../rounds.ts';

const CHUNK = 256;
/** Whose median is a round's figure. */
const DECODES = 8;
const GREEDY = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, rules: null, logprobs: null, index: 0 },
};

export interface StepTime {
  readonly name: string;
  readonly ms: number;
}

export class StepTimes {
  readonly #runner: ModelRunner;
  #plans = 0;
  #context = 0;

  /** Of a runner that can be timed so; a slot beyond the batch keeps the text, another takes prompts. */
  static sizes({ contexts, batches }: { contexts: readonly number[]; batches: readonly number[] }) {
    const [maxNumSeqs, maxModelLen] = [Math.max(...batches), Math.max(...contexts) + CHUNK];
    return { maxNumSeqs, cacheSlots: 2, kvCacheTokens: null, maxModelLen, maxStepTokens: Math.max(CHUNK, maxNumSeqs) };
  }

  constructor(runner: ModelRunner) {
    this.#runner = runner;
  }

  /** Every slot of the batch gets a text of `context` tokens; contexts only grow. */
  fill(context: number, batch: number): void {
    const source = this.#runner.info.maxNumSeqs;
    for (let start = this.#context; start < context; start += CHUNK) {
      this.#chunk(source, start, Math.min(CHUNK, context - start));
    }
    this.#context = context;
    this.#run(
      [],
      Array.from({ length: batch }, (_, to) => ({ from: source, to, tokens: context })),
    );
  }

  round(batches: readonly number[]): readonly StepTime[] {
    const context = this.#context;
    const at = `at ${context} tokens`;
    const decodes = batches.map((batch) => {
      return { name: `decode ${batch} ${at}`, ms: median(Array.from({ length: DECODES }, () => this.#decode(batch))) };
    });
    const chunk = { name: `prompt of ${CHUNK} ${at}`, ms: this.#chunk(0, context, CHUNK) };
    const first = { name: `prompt of ${CHUNK} alone`, ms: this.#chunk(this.#runner.info.maxNumSeqs + 1, 0, CHUNK) };
    return [...decodes, chunk, first];
  }

  free(): void {
    this.#runner.dispose();
  }

  #decode(batch: number): number {
    const ids = randomIds(`step ${this.#plans}`, batch, this.#runner.info.vocabSize);
    return this.#run(Array.from(ids, (id, slot) => row(slot, this.#context, Int32Array.of(id))));
  }

  #chunk(slot: number, start: number, tokens: number): number {
    return this.#run([row(slot, start, randomIds(`text ${start}`, tokens, this.#runner.info.vocabSize))]);
  }

  #run(rows: readonly PlanRow[], copies: readonly KvCopy[] = []): number {
    const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
    const begin = performance.now();
    this.#runner.launch({ id: ++this.#plans, copies, drops: [], rows, tokens });
    this.#runner.collect();
    return performance.now() - begin;
  }
}

function row(slot: number, start: number, ids: Int32Array): PlanRow {
  return { sequence: slot, blocks: Int32Array.of(slot), start, ids, draws: 1, sample: GREEDY };
}
