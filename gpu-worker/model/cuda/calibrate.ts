/** Finds the scales of an fp8 KV cache: runs tokens through the model and looks at what lies in the cache. Knows no text. */
import { KV_KINDS } from './paged-graph.ts';
import type { DeviceWeights } from './device-weights.ts';
import type { KvBlocks } from './kv-blocks.ts';
import { layoutOf, packPart } from './plan-inputs.ts';
import type { Part } from './plan-inputs.ts';
import type { StepParts } from './largest-steps.ts';

const TOKENS = 128;
/** The largest float8e4m3fn; the largest value seen comes to lie so many times below it, for prompts yet to come. */
const LARGEST = 448;
const MARGIN = 4;
const SIGN = 0x80;

export interface Calibrated extends Omit<StepParts, 'draw'> {
  readonly kv: KvBlocks;
  readonly weights: DeviceWeights;
}

/**
 * One scale for the keys and one for the values of each layer. Tokens from all over the vocabulary stand in for text:
 * a float's relative error does not depend on the scale, only saturation and underflow do, and there is room for both.
 */
export function calibrateKvScales(
  { cuda, memory, decoder, kv, weights }: Calibrated,
  limits: { vocabSize: number; maxStepTokens: number; maxModelLen: number },
): void {
  const { layers, blockSize, kvHeads, headDim } = kv.shape;
  const tokens = Math.min(TOKENS, limits.maxStepTokens, limits.maxModelLen, blockSize);
  const slot = memory.slots[0];
  if (slot === undefined) return;
  const ids = Int32Array.from({ length: tokens }, (_, i) => Math.floor(((i + 0.5) * limits.vocabSize) / tokens));
  const rows = [{ sequence: 0, blocks: Int32Array.of(0), start: 0, ids, draws: 0, sample: null }];
  const part: Part = {
    ...{ rows: [0], tokens, draws: 0, width: 1, decode: false },
    longestRow: tokens,
    longestTotal: tokens,
  };
  const shape = { tokens, sequences: 1, width: 1, logits: 1 };
  const layout = layoutOf(shape, 0);
  packPart(rows, part, {
    words: slot.words,
    layout,
    shape,
    blockSize,
    drawn: memory.sizes.maxDraws,
    previous: new Map(),
  });
  memory.send(slot, layout.end);
  decoder.run(shape, layout, part);
  const bytes = tokens * kvHeads * headDim;
  const pinned = cuda.allocatePinned(bytes);
  const scales = new Float32Array(KV_KINDS.length * layers);
  for (let place = 0; place < scales.length; place++) {
    cuda.toHost(pinned.pointer, kv.pointer(place), bytes);
    cuda.synchronize();
    const largest = largestOf(new Uint8Array(pinned.buffer, 0, bytes));
    scales[place] = largest === 0 ? 1 : (largest * MARGIN) / LARGEST;
  }
  weights.setKvScales(scales);
}

/** Of float8e4m3fn values (1 sign, 4 exponent, 3 mantissa bits, bias 7), whose sizes order as their bits do. */
function largestOf(values: Uint8Array): number {
  let bits = 0;
  for (const value of values) bits = Math.max(bits, value & ~SIGN & 0xff);
  const exponent = bits >> 3;
  const mantissa = bits & 7;
  return exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
}
