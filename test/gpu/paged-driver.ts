/** Drives a runner with KV blocks by hand: every sequence has blocks of its own, steps are written down row by row. */
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import { PLACEHOLDER } from '../../gpu-worker/engine/step-plan.ts';
import type { PlanRow, SampleSpec, StepPlan, StepResult } from '../../gpu-worker/engine/step-plan.ts';

export const GREEDY: SampleSpec = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, index: 0, rules: null, logprobs: null },
};

export interface DrivenRow {
  readonly sequence: number;
  readonly start: number;
  readonly ids: readonly number[];
  readonly sample: SampleSpec | null;
}

export class PagedDriver {
  readonly runner: ModelRunner;
  /** Tokens that a sequence may have. */
  readonly #capacity: number;
  #plan = 0;

  constructor(runner: ModelRunner, capacity: number) {
    this.runner = runner;
    this.#capacity = capacity;
  }

  /** Sequences that fit. */
  get sequences(): number {
    return Math.floor(this.runner.info.kv.blocks / this.#blocksEach);
  }

  plan(rows: readonly DrivenRow[]): StepPlan {
    const planRows = rows.map((row) => this.#row(row));
    return {
      id: ++this.#plan,
      copies: [],
      drops: [],
      rows: planRows,
      tokens: sum(planRows.map(({ ids }) => ids.length)),
    };
  }

  run(rows: readonly DrivenRow[]): StepResult {
    this.runner.launch(this.plan(rows));
    return this.runner.collect();
  }

  /** Tokens after each prompt, all in one batch: prompts in one step if they fit, then a token each, two steps in flight. */
  generate(prompts: readonly (readonly number[])[], count: number, sample: SampleSpec = GREEDY): readonly number[][] {
    const outputs = prompts.map((): number[] => []);
    const take = ({ tokens }: StepResult): void => tokens.forEach((token, i) => outputs[i]?.push(token));
    this.#prefill(prompts, sample).forEach((token, i) => outputs[i]?.push(token));
    let inFlight = 0;
    for (let step = 1; step < count; step++) {
      const rows = prompts.map(({ length }, sequence): DrivenRow => {
        const known = inFlight === 0 ? (outputs[sequence]?.at(-1) ?? 0) : PLACEHOLDER;
        return { sequence, start: length + step - 1, ids: [known], sample: { ...sample, index: step } };
      });
      this.runner.launch(this.plan(rows));
      if (++inFlight === 2) {
        take(this.runner.collect());
        inFlight--;
      }
    }
    while (inFlight-- > 0) take(this.runner.collect());
    return outputs;
  }

  #prefill(prompts: readonly (readonly number[])[], sample: SampleSpec): readonly number[] {
    const { maxStepTokens } = this.runner.info;
    const drawn: number[] = [];
    let rows: DrivenRow[] = [];
    let tokens = 0;
    const flush = (): void => {
      if (rows.length > 0) drawn.push(...this.run(rows).tokens);
      [rows, tokens] = [[], 0];
    };
    prompts.forEach((prompt, sequence) => {
      if (tokens + prompt.length > maxStepTokens) flush();
      rows.push({ sequence, start: 0, ids: prompt, sample });
      tokens += prompt.length;
    });
    flush();
    return drawn;
  }

  #row({ sequence, start, ids, sample }: DrivenRow): PlanRow {
    const each = this.#blocksEach;
    const used = Math.ceil((start + ids.length) / this.runner.info.kv.blockSize);
    const blocks = Int32Array.from({ length: used }, (_, i) => sequence * each + i);
    return { sequence, blocks, start, ids: Int32Array.from(ids), draws: sample === null ? 0 : 1, sample };
  }

  get #blocksEach(): number {
    return Math.ceil(this.#capacity / this.runner.info.kv.blockSize);
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
