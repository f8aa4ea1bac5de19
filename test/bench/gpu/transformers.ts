/** transformers' continuous batching on the same GPU, in a process of its own. Knows nothing of ours. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('./transformers_batch.py', import.meta.url));
const TIMEOUT_MS = 600_000;

export interface TransformersFigure {
  readonly requests: number;
  readonly prompt: number;
  readonly output: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  readonly transformers: string;
  readonly torch: string;
}

export interface TransformersLoad {
  readonly requests: number;
  readonly output: number;
  readonly layers: number;
}

/** `python` has torch and transformers. Throws with what it printed last when it fails. */
export function measureTransformers(
  python: string,
  { requests, output, layers }: TransformersLoad,
): TransformersFigure {
  const size = ['--requests', String(requests), '--output', String(output), '--layers', String(layers)];
  const printed = execFileSync(python, [PROGRAM, ...size], {
    ...{ encoding: 'utf8', timeout: TIMEOUT_MS, stdio: ['ignore', 'pipe', 'inherit'] },
  });
  return JSON.parse(printed.trim().split('\n').at(-1) ?? '') as TransformersFigure;
}
