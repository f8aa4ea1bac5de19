/** Stored number formats → float32. Knows bytes, no files. */

export type FloatFormat = 'F32' | 'F16' | 'BF16';
export const WIDTHS: Readonly<Record<FloatFormat, number>> = { F32: 4, F16: 2, BF16: 2 };

export function isFloatFormat(name: string): name is FloatFormat {
  return Object.hasOwn(WIDTHS, name);
}

/** Fills `target` from the values that start at byte `offset` (any alignment). */
export type FloatReader = (source: ArrayBuffer, offset: number, target: Float32Array) => void;

export function floatReader(format: FloatFormat): FloatReader {
  if (format === 'F32') return readFloat32;
  return format === 'F16' ? readFloat16 : readBfloat16;
}

const readFloat32: FloatReader = (source, offset, target) => {
  new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(
    new Uint8Array(source, offset, target.byteLength),
  );
};

const readBfloat16: FloatReader = (source, offset, target) => {
  const halves = halfWords(source, offset, target.length);
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16;
};

const readFloat16: FloatReader = (source, offset, target) => {
  const halves = halfWords(source, offset, target.length);
  const table = (float16Table ??= makeFloat16Table());
  for (let i = 0; i < halves.length; i++) target[i] = table[halves[i] ?? 0] ?? 0;
};

function halfWords(source: ArrayBuffer, offset: number, length: number): Uint16Array {
  if (offset % 2 === 0) return new Uint16Array(source, offset, length);
  return new Uint16Array(source.slice(offset, offset + 2 * length));
}

let float16Table: Float32Array | undefined;

/** [65536]: the value of every half-precision bit pattern. */
function makeFloat16Table(): Float32Array {
  return Float32Array.from({ length: 65_536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
