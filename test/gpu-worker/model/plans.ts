/** Test support: golden files, plans written by hand, and a naive way to drive a runner. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { PlanRow, SampleSpec, StepPlan, StepResult } from '../../../gpu-worker/engine/step-plan.ts';
import type { KvCopy, KvDrop } from '../../../gpu-worker/kv/kv-cache.ts';
import { openModel } from '../../../gpu-worker/model/load.ts';
import type { OpenModelOptions } from '../../../gpu-worker/model/load.ts';

export interface Golden {
  readonly cases: readonly { readonly prompt: readonly number[]; readonly expected: readonly number[] }[];
  readonly logits: readonly { readonly prompt: readonly number[]; readonly logits: readonly number[] }[];
}

export const GREEDY: SampleSpec = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  seed: null,
  choice: 0,
  index: 0,
  rules: null,
  logprobs: null,
};

const FIXTURES = fileURLToPath(new URL('../../fixtures', import.meta.url));
const MODELS = fileURLToPath(new URL('../../../models', import.meta.url));

/** The folder of a fixture model, or of one that the project ships. */
export function fixture(name: string): string {
  const shipped = join(MODELS, name);
  return existsSync(shipped) ? shipped : join(FIXTURES, name);
}

/** Every model that infra/fixtures/make_fixtures.py wrote a golden file for. */
export function goldenNames(): string[] {
  const suffix = '.golden.json';
  return readdirSync(FIXTURES)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length));
}

export function golden(name: string): Golden {
  return JSON.parse(readFileSync(join(FIXTURES, `${name}.golden.json`), 'utf8')) as Golden;
}

export function openFixture(name: string, options: Partial<OpenModelOptions> = {}): ModelRunner {
  return openModel({
    folder: fixture(name),
    quantization: 'none',
    maxNumSeqs: 64,
    kvCacheTokens: null,
    maxModelLen: 256,
    threads: 2,
    maxStepTokens: 512,
    ...options,
  });
}

/** Numbers plans and rows for a runner. */
export class Driver {
  readonly runner: ModelRunner;
  #plan = 0;

  constructor(runner: ModelRunner) {
    this.runner = runner;
  }

  /** One step; returns the tokens drawn, row by row. */
  step(rows: readonly RowSpec[], kv: KvWork = {}): Int32Array {
    return this.run(rows, kv).tokens;
  }

  run(rows: readonly RowSpec[], { copies = [], drops = [] }: KvWork = {}): StepResult {
    this.runner.launch(this.plan(rows, { copies, drops }));
    return this.runner.collect();
  }

  plan(rows: readonly RowSpec[], { copies = [], drops = [] }: KvWork = {}): StepPlan {
    const planRows = rows.map(toRow);
    const tokens = planRows.reduce((sum, row) => sum + row.ids.length, 0);
    return { id: ++this.#plan, copies, drops, rows: planRows, tokens };
  }

  /** Greedy tokens after `prompt`, alone, the prompt in pieces of `chunk` tokens. */
  generate(prompt: readonly number[], count: number, at: { slot: number; chunk: number }): number[] {
    let token = 0;
    for (let start = 0; start < prompt.length; start += at.chunk) {
      const ids = prompt.slice(start, start + at.chunk);
      const last = start + at.chunk >= prompt.length;
      token = this.step([{ slot: at.slot, start, ids, sample: last ? GREEDY : null }])[0] ?? -1;
    }
    const output = [token];
    while (output.length < count) {
      const start = prompt.length + output.length - 1;
      token = this.step([{ slot: at.slot, start, ids: [token], sample: GREEDY }])[0] ?? -1;
      output.push(token);
    }
    return output;
  }
}

export interface KvWork {
  readonly copies?: readonly KvCopy[];
  readonly drops?: readonly KvDrop[];
}

export interface RowSpec {
  readonly slot: number;
  readonly start: number;
  readonly ids: readonly number[];
  readonly sample: SampleSpec | null;
  /** By default 1 where there is a way to draw. */
  readonly draws?: number;
  readonly sequence?: number;
}

export function toRow({ slot, start, ids, sample, draws, sequence }: RowSpec): PlanRow {
  return {
    sequence: sequence ?? slot,
    blocks: Int32Array.of(slot),
    start,
    ids: Int32Array.from(ids),
    draws: draws ?? (sample === null ? 0 : 1),
    sample,
  };
}
