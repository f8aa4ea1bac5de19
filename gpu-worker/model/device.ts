/** What a model may be asked to run on. Finds nothing out. */

export const DEVICES = ['auto', 'cpu', 'cuda'] as const;
export type DeviceChoice = (typeof DEVICES)[number];

/** Number format of weights and activations on a GPU; auto: as they are stored. */
export const DTYPES = ['auto', 'float16', 'bfloat16'] as const;
export type DtypeChoice = (typeof DTYPES)[number];

/** Number format of keys and values; a CPU has float32 and int8, a GPU float16 (or what the weights have), fp8 and int8. */
export const KV_CACHE_DTYPES = ['auto', 'float32', 'float16', 'fp8', 'int8'] as const;
export type KvCacheDtype = (typeof KV_CACHE_DTYPES)[number];

export interface StepSizes {
  /** Sequences that run at once. */
  readonly maxNumSeqs: number;
  /** Token budget of a step. */
  readonly maxNumBatchedTokens: number;
}

/** A processor gains nothing from larger steps, a GPU is idle in smaller ones. */
export const DEFAULT_SIZES: Readonly<Record<'cpu' | 'cuda', StepSizes>> = {
  cpu: { maxNumSeqs: 32, maxNumBatchedTokens: 512 },
  cuda: { maxNumSeqs: 256, maxNumBatchedTokens: 8192 },
};

/** What was not given (null) is the device's default, and fits what was: every sequence needs a token of a step. */
export function stepSizes(
  given: { readonly [K in keyof StepSizes]: number | null },
  device: 'cpu' | 'cuda',
): StepSizes {
  const { maxNumSeqs: seqs, maxNumBatchedTokens: tokens } = given;
  const defaults = DEFAULT_SIZES[device];
  const maxNumSeqs = seqs ?? Math.min(defaults.maxNumSeqs, tokens ?? Infinity);
  return { maxNumSeqs, maxNumBatchedTokens: tokens ?? Math.max(defaults.maxNumBatchedTokens, maxNumSeqs) };
}
