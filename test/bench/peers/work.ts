/** What every system is asked to do, and what it says. Knows no system. */

/** Structured for JSON: a system runs in a process of its own. */
export interface PeerWork {
  /** The model in the system's own form: a Hugging Face folder, a .gguf file, a folder of ONNX files. */
  readonly model: string;
  readonly threads: number;
  /** Streams at once whose decoding is timed. */
  readonly batches: readonly number[];
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Lengths of prompts whose prefill is timed, alone. */
  readonly prefills: readonly number[];
  /** Ids below this may be in a prompt. */
  readonly vocabSize: number;
  readonly round: number;
  /** For Millrace alone. */
  readonly quantization?: 'int4' | 'int8';
  readonly blockSize?: 32 | 128;
  readonly cache?: string;
}

export interface PeerResult {
  /** Tokens/s by streams: tokens of all between the last first token and the first last one. */
  readonly decode: Readonly<Record<string, number>>;
  /** Tokens/s by length: prompt ÷ time to the first token. */
  readonly prefill: Readonly<Record<string, number>>;
  /** Greedy tokens after `SAMPLE`: equal weights give nearly equal ones. */
  readonly sample: readonly number[];
  readonly loadMs: number;
  readonly residentMB: number;
}

/** The prompt that every system continues by so many tokens, to show that it has the same model. */
export const SAMPLE = { key: 'sample', promptTokens: 32, outputTokens: 8 };

/** `tokenTimes[stream]`: when each of its tokens came, milliseconds. */
export function decodeRate(tokenTimes: readonly (readonly number[])[]): number {
  const begin = Math.max(...tokenTimes.map((times) => times[0] ?? NaN));
  const end = Math.min(...tokenTimes.map((times) => times.at(-1) ?? NaN));
  const inside = tokenTimes.flat().filter((time) => time > begin && time <= end).length;
  return (inside * 1000) / (end - begin);
}
