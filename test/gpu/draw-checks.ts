/** Draws of more rows than the GPU takes at once, each with its own logits, temperature and place. Prints nothing. */
import { readModelConfig } from '../../gpu-worker/model/config.ts';
import type { SampleSpec } from '../../gpu-worker/engine/step-plan.ts';
import { openCudaRunner } from '../../gpu-worker/model/cuda/open-cuda.ts';
import { openSafetensors } from '../../gpu-worker/model/safetensors.ts';
import type { GoldenModel } from './goldens.ts';
import { GREEDY, PagedDriver } from './paged-driver.ts';
import type { ServingCheck } from './serving-checks.ts';

/** Two whole pieces and a part of one. */
const ROWS = 600;
const FIRST_PIECE = 256;
/** Draws the likeliest token all but surely: one behind by 0.1 has a chance of e⁻¹⁰⁰. */
const COLD: SampleSpec = { ...GREEDY, temperature: 0.001 };
const HOT: SampleSpec = { ...GREEDY, temperature: 8 };
/** Of a model this sure of itself, rows at temperature 8 that draw the likeliest token all the same. */
const MOST_HOT_EQUAL = 0.5;
const LEAST_EQUAL = 0.98;

/** Rows of the first piece are hot, the others cold: a row that took another's temperature would be seen. */
export function checkDraws(model: GoldenModel): readonly ServingCheck[] {
  const prompts = model.tokens.map(({ prompt }) => prompt);
  const maxModelLen = Math.max(...prompts.map(({ length }) => length)) + 2;
  const source = openSafetensors(model.folder);
  const limits = { maxNumSeqs: ROWS, maxModelLen, maxStepTokens: 4096, kvCacheTokens: ROWS * 1024 };
  const runner = openCudaRunner(readModelConfig(model.folder), source, { ...limits, type: 'float16' });
  source.close();
  try {
    const driver = new PagedDriver(runner, maxModelLen);
    const each = (row: number): readonly number[] => prompts[row % prompts.length] ?? [];
    const step = (sampleOf: (row: number) => SampleSpec): Int32Array => {
      const rows = Array.from({ length: ROWS }, (_, sequence) => {
        const prompt = each(sequence);
        return { sequence, start: prompt.length - 1, ids: prompt.slice(-1), sample: sampleOf(sequence) };
      });
      return driver.run(rows).tokens;
    };
    const expected = driver.generate(prompts, 1).map(([token = -1]) => token);
    for (let row = 0; row < ROWS; row++) {
      driver.run([{ sequence: row, start: 0, ids: each(row), sample: null }]);
    }
    const equal = (tokens: Int32Array, from: number, to: number): readonly [number, number] => {
      const rows = Array.from({ length: to - from }, (_, i) => from + i);
      return [rows.filter((row) => tokens[row] === expected[row % prompts.length]).length, rows.length];
    };
    const greedy = equal(
      step(() => GREEDY),
      0,
      ROWS,
    );
    const drawn = step((row) => (row < FIRST_PIECE ? HOT : COLD));
    const mixed = step((row) => (row < FIRST_PIECE ? HOT : row % 2 === 0 ? GREEDY : COLD));
    return [
      check(`${ROWS} greedy rows of a step = alone`, greedy),
      ...[['drawn', drawn] as const, ['drawn or greedy', mixed] as const].map(([name, tokens]) => {
        const hot = equal(tokens, 0, FIRST_PIECE);
        const cold = check(`${ROWS} rows ${name}, cold ones = alone`, equal(tokens, FIRST_PIECE, ROWS));
        const figure = `${hot[0]} of ${hot[1]} hot ones equal`;
        return { ...cold, figure, passed: cold.passed && hot[0] <= MOST_HOT_EQUAL * hot[1] };
      }),
    ];
  } finally {
    runner.dispose();
  }
}

function check(name: string, equal: readonly [number, number]): ServingCheck {
  return { name, equal, figure: '', passed: equal[0] >= LEAST_EQUAL * equal[1] };
}
