/** Blockwise symmetric rounding of weight rows to the layout of ONNX Runtime's MatMulNBits. Knows no graph. */

export type Quantization = 'none' | 'int8' | 'int4';
export const QUANTIZATIONS: readonly Quantization[] = ['none', 'int8', 'int4'];

/** Columns that share one scale. */
export const BLOCK_SIZE = 32;

/**
 * Rows of [columns] values → `packed` [rows, columns / 32, 32 × bits / 8] and `scales` [rows, columns / 32].
 * A stored q means (q − 2^(bits − 1)) × scale, MatMulNBits' meaning without zero points; two 4-bit values
 * share a byte, the even column in the low half.
 */
export interface QuantizedRows {
  readonly packed: Uint8Array;
  readonly scales: Float32Array;
}

export function quantizeInt4(values: Float32Array, target: QuantizedRows): void {
  for (let block = 0, start = 0; start < values.length; block++, start += BLOCK_SIZE) {
    // The value of largest size maps to −8 exactly: the grid −8 … 7 is used in full.
    const scale = largest(values, start) / -8;
    target.scales[block] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let i = start; i < start + BLOCK_SIZE; i += 2) {
      // Adding 8 makes the sum positive, so that cutting off its fraction rounds.
      const low = Math.min(15, ((values[i] ?? 0) * inverse + 8.5) | 0);
      const high = Math.min(15, ((values[i + 1] ?? 0) * inverse + 8.5) | 0);
      target.packed[i >> 1] = low | (high << 4);
    }
  }
}

export function quantizeInt8(values: Float32Array, target: QuantizedRows): void {
  for (let block = 0, start = 0; start < values.length; block++, start += BLOCK_SIZE) {
    const scale = Math.abs(largest(values, start)) / 127;
    target.scales[block] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let i = start; i < start + BLOCK_SIZE; i++) {
      target.packed[i] = ((values[i] ?? 0) * inverse + 128.5) | 0;
    }
  }
}

/** The value of largest size in the block at `start`, with its sign. */
function largest(values: Float32Array, start: number): number {
  let best = 0;
  for (let i = start; i < start + BLOCK_SIZE; i++) {
    const value = values[i] ?? 0;
    if (Math.abs(value) > Math.abs(best)) best = value;
  }
  return best;
}
