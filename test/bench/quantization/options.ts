/** The quantization benchmark's arguments, checked, with their defaults. Runs nothing. */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BlockSize, QuantizationOptions } from '../../../gpu-worker/model/quantize/scheme.ts';
import { integer, list } from '../options.ts';

export interface Variant extends QuantizationOptions {
  readonly name: string;
  readonly pruneLayers: number;
}

export interface QuantizationBenchOptions {
  readonly model: string;
  readonly input: string;
  readonly variants: readonly Variant[];
  readonly threads: number;
}

const inTree = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

const DEFAULTS = {
  model: inTree('models/millrace-mini'),
  input: inTree('infra/model/heldout.jsonl'),
  variants: 'none,int8,int4,int4-zp,int4-b64,int4-b128,int4-b128-zp,none-prune1,int4-prune1',
  threads: String(availableParallelism()),
};

export const HELP = `npm run bench:quantization [-- options]
  --model <folder>     Hugging Face folder [the embedded model]
  --input <file>       texts to foretell: .jsonl with a text or chat a line, or one text [the embedded model's held-out set]
  --variants <names>   by comma: none, int8 or int4, then -b64 or -b128, -zp (zero points), -prune<n> (layers dropped)
                       [${DEFAULTS.variants}]
  --threads <n>        [${DEFAULTS.threads}]
  --help

Perplexity is over the tokens that the model would say; the first variant is what the others are compared to.
Prunings are chosen on calibration.jsonl of the model's folder. Output: a table, then one line of JSON.`;

/** Null: help was asked for. Throws with the option's name and the fix. */
export function readOptions(args: readonly string[]): QuantizationBenchOptions | null {
  const text = { type: 'string' } as const;
  const options = { model: text, input: text, variants: text, threads: text, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args: [...args], options });
  if (values.help === true) return null;
  const given = { ...DEFAULTS, ...values };
  return {
    model: given.model,
    input: given.input,
    variants: list('variants', given.variants).map(variant),
    threads: integer('threads', given.threads, { min: 1, max: 1024 }),
  };
}

const VARIANT = /^(none|int8|int4)(?:-b(32|64|128))?(-zp)?(?:-prune(\d{1,3}))?$/;

function variant(name: string): Variant {
  const [, quantization, blockSize = '32', zeroPoints, pruned = '0'] = VARIANT.exec(name) ?? [];
  if (quantization === undefined) {
    throw new Error(`--variants names "${name}": it must be like int4, int4-b128, int4-zp or none-prune1`);
  }
  return {
    name,
    quantization: quantization as QuantizationOptions['quantization'],
    quantizationBlockSize: Number(blockSize) as BlockSize,
    quantizationSymmetric: zeroPoints === undefined,
    pruneLayers: Number(pruned),
  };
}
