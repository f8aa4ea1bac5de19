/** Perplexity of the embedded model in every number format that a GPU serves it in, beside float32's on the CPU. Prints nothing. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { evaluateOnGpu } from '../../gpu-worker/evaluate/evaluate-gpu.ts';
import { evaluate } from '../../gpu-worker/evaluate/evaluate.ts';
import { perplexityOf } from '../../gpu-worker/evaluate/scorer.ts';

export interface PerplexityCheck {
  readonly weights: string;
  readonly kv: string;
  readonly perplexity: number | null;
  /** To float32's. */
  readonly ratio: number | null;
  readonly error: string | null;
  readonly passed: boolean;
}

export interface PerplexityChecks {
  readonly float32: number;
  readonly tokens: number;
  readonly checks: readonly PerplexityCheck[];
}

const HELD_OUT = fileURLToPath(new URL('../../infra/model/heldout.jsonl', import.meta.url));
/** Chats of the held-out set: about 3,500 tokens that the model says. */
const CHATS = 60;
const LARGEST_RATIO = 1.02;
const THREADS = 4;

const WEIGHTS = [
  { name: 'float16', quantization: 'none', dtype: 'float16' },
  { name: 'bfloat16', quantization: 'none', dtype: 'bfloat16' },
  { name: 'int8 b32', quantization: 'int8', dtype: 'float16' },
  { name: 'int4 b32', quantization: 'int4', dtype: 'float16' },
] as const;
/** float16: as the activations have it. */
const KV = ['float16', 'fp8', 'int8'] as const;

export function checkPerplexity(folder: string, onFormat: (format: string) => void): PerplexityChecks {
  const place = mkdtempSync(join(tmpdir(), 'millrace-perplexity-'));
  try {
    const input = join(place, 'chats.jsonl');
    writeFileSync(input, readFileSync(HELD_OUT, 'utf8').split('\n').slice(0, CHATS).join('\n'));
    const { score } = evaluate({ folder, quantization: 'none', threads: THREADS }, input);
    const float32 = perplexityOf(score);
    const checks = WEIGHTS.flatMap(({ name, quantization, dtype }) =>
      KV.map((kv): PerplexityCheck => {
        onFormat(`${name}, KV ${kv}`);
        const base = { weights: name, kv: kv === 'float16' ? dtype : kv };
        try {
          const formats = { quantization, dtype, kvCacheDtype: kv, quantizationCache: place, threads: THREADS };
          const perplexity = perplexityOf(evaluateOnGpu({ folder, ...formats }, input).score);
          const ratio = perplexity / float32;
          return { ...base, perplexity, ratio, error: null, passed: ratio <= LARGEST_RATIO };
        } catch (error) {
          return { ...base, perplexity: null, ratio: null, error: String(error), passed: false };
        }
      }),
    );
    return { float32, tokens: score.tokens, checks };
  } finally {
    rmSync(place, { recursive: true });
  }
}
