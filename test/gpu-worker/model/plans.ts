/** Test support: golden files, plans written by hand, and a naive way to drive a runner. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { PlanRow, SampleSpec, SlotMove } from '../../../gpu-worker/engine/step-plan.ts';
import { openModel } from '../../../gpu-worker/model/load.ts';
import type { OpenModelOptions } from '../../../gpu-worker/model/load.ts';

export interface Golden {
  readonly cases: readonly { readonly prompt: readonly number[]; readonly expected: readonly number[] }[];
  readonly logits: readonly { readonly prompt: readonly number[]; readonly logits: readonly number[] }[];
}

export const GREEDY: SampleSpec = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: [0, 0], choice: 0, index: 0 };

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
    slots: 4,
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

  /** One step; returns the token drawn for each row. */
  step(rows: readonly RowSpec[], moves: readonly SlotMove[] = []): Int32Array {
    const planRows = rows.map(toRow);
    const tokens = planRows.reduce((sum, row) => sum + row.ids.length, 0);
    this.runner.launch({ id: ++this.#plan, moves, rows: planRows, tokens });
    return this.runner.collect().tokens;
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

export interface RowSpec {
  readonly slot: number;
  readonly start: number;
  readonly ids: readonly number[];
  readonly sample: SampleSpec | null;
  readonly sequence?: number;
}

function toRow({ slot, start, ids, sample, sequence }: RowSpec): PlanRow {
  return { sequence: sequence ?? slot, slot, start, ids: Int32Array.from(ids), sample };
}
