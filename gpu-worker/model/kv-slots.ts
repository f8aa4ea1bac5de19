/** The KV cache on the CPU: one row of positions per slot and layer, and how many of them hold a sequence. Knows no runs. */
import type { KvCopy, KvDrop } from '../kv/kv-cache.ts';
import type { ModelConfig } from './config.ts';
import type { CpuKvType } from './graph/cpu-graph.ts';
import { ELEMENT_BYTES } from './runtime/ort-api.ts';
import { Memory } from './runtime/memory.ts';
import { Tensor } from './runtime/session.ts';

/** Ranges of slots whose tensors are kept: those that ran lately. */
const MAX_RANGES = 256;

/** Bytes of keys and values of one token in all layers. */
export const kvBytesPerToken = (config: ModelConfig, type: CpuKvType = 'float32'): number =>
  2 * config.layers * config.kvHeads * config.headDim * ELEMENT_BYTES[type];

export interface KvSlotsOptions {
  readonly slots: number;
  /** Positions of a slot. */
  readonly capacity: number;
  /** [layers, 2, kvHeads × headDim]: makes it a cache of int8, each channel of keys and values with its scale. */
  readonly scales?: Float32Array | null;
}

/** Positions `from` … `to` − 1 of a slot, in the keys (place 2 × layer) or values (2 × layer + 1). */
export interface KvStretch {
  readonly place: number;
  readonly slot: number;
  readonly from: number;
  readonly to: number;
}

interface Scales {
  readonly values: Float32Array;
  readonly memory: Memory;
  readonly tensor: Tensor;
}

export class KvSlots {
  readonly type: CpuKvType;
  /** [slots]: positions 0 … n − 1 are a sequence's. */
  readonly used: Int32Array;
  readonly #kvHeads: number;
  readonly #capacity: number;
  readonly #headDim: number;
  /**
   * Keys and values of layer 0, of layer 1, …: each [slots, kvHeads, capacity, headDim]. The kernel maps pages on first
   * touch.
   */
  readonly #memories: readonly Memory[];
  readonly #values: readonly (Float32Array | Int8Array)[];
  /** By place [kvHeads, headDim]; none for float32. */
  readonly #scales: readonly Scales[];
  /** [slots]: positions from n on were never written since the memory was mapped or last given back. */
  readonly #touched: Int32Array;
  /** By first slot and number of slots, the least recently used first. */
  readonly #ranges = new Map<number, readonly Tensor[]>();

  constructor(config: ModelConfig, { slots, capacity, scales = null }: KvSlotsOptions) {
    this.type = scales === null ? 'float32' : 'int8';
    this.used = new Int32Array(slots);
    this.#touched = new Int32Array(slots);
    this.#kvHeads = config.kvHeads;
    this.#capacity = capacity;
    this.#headDim = config.headDim;
    const bytes = slots * this.#slotElements * this.#elementBytes;
    this.#memories = Array.from({ length: 2 * config.layers }, () => Memory.allocate(bytes));
    this.#values = this.#memories.map(({ buffer }) =>
      scales === null ? new Float32Array(buffer) : new Int8Array(buffer),
    );
    this.#scales = scales === null ? [] : this.#memories.map((_, place) => this.#scalesOf(scales, place));
  }

  /** A run is about to write positions `start` … `end` − 1: until `wrote` they hold nothing. */
  willWrite(slot: number, start: number, end: number): void {
    this.used[slot] = start;
    this.#touch(slot, end);
  }

  wrote(slot: number, end: number): void {
    this.used[slot] = end;
  }

  copy({ from, to, tokens }: KvCopy): void {
    const [source, target] = [from * this.#slotElements, to * this.#slotElements];
    for (const values of this.#values) {
      for (let head = 0; head < this.#kvHeads; head++) {
        const start = head * this.#rowElements;
        values.copyWithin(target + start, source + start, source + start + tokens * this.#headDim);
      }
    }
    this.used[to] = tokens;
    this.#touch(to, tokens);
  }

  /** Gives memory back to the kernel, by whole pages. */
  drop({ block, tokens }: KvDrop): void {
    this.used[block] = Math.min(this.used[block] ?? 0, tokens);
    const touched = this.#touched[block] ?? 0;
    if (touched <= tokens) return;
    const bytes = this.#headDim * this.#elementBytes;
    for (const memory of this.#memories) {
      for (let head = 0; head < this.#kvHeads; head++) {
        const start = (block * this.#kvHeads + head) * this.#capacity;
        memory.discard((start + tokens) * bytes, (start + touched) * bytes);
      }
    }
    this.#touched[block] = tokens;
  }

  /** Keys and values of layer 0, of layer 1, … of slots `first` … `first + count − 1`. Equal arguments, equal array. */
  tensors(first: number, count: number): readonly Tensor[] {
    const key = first * (this.used.length + 1) + count;
    const tensors = this.#ranges.get(key) ?? this.#makeTensors(first, count);
    this.#ranges.delete(key);
    this.#ranges.set(key, tensors);
    const [oldest] = this.#ranges;
    if (oldest !== undefined && this.#ranges.size > MAX_RANGES) {
      // A binding that still has them shares their ownership.
      for (const tensor of oldest[1]) tensor.release();
      this.#ranges.delete(oldest[0]);
    }
    return tensors;
  }

  /** float32 [1, kvHeads, 1, headDim], of an int8 cache. */
  scale(place: number): Tensor {
    return this.#scaleAt(place).tensor;
  }

  /** [positions, headDim] of a float32 cache, where they lie. */
  floats({ place, slot, from, to }: KvStretch, head: number): Float32Array {
    const values = this.#values[place];
    if (!(values instanceof Float32Array)) throw new RangeError(`no float32 at place ${place}`);
    const start = (slot * this.#kvHeads + head) * this.#rowElements;
    return values.subarray(start + from * this.#headDim, start + to * this.#headDim);
  }

  /** Reads a stretch of an int8 cache into the same positions of `target` [kvHeads, capacity, headDim]. */
  expand(stretch: KvStretch, target: Float32Array): void {
    this.#eachHead(stretch, ({ codes, scales, start, offset, end }) => {
      for (let i = start; i < end; i += scales.length) {
        for (let channel = 0; channel < scales.length; channel++) {
          target[i + channel] = (codes[offset + i + channel] ?? 0) * (scales[channel] ?? 0);
        }
      }
    });
  }

  /** Rounds the same positions of `source` [kvHeads, capacity, headDim] to a stretch of an int8 cache. */
  round(stretch: KvStretch, source: Float32Array): void {
    this.#eachHead(stretch, ({ codes, scales, start, offset, end }) => {
      const factors = scales.map((scale) => 1 / scale);
      for (let i = start; i < end; i += factors.length) {
        for (let channel = 0; channel < factors.length; channel++) {
          const code = Math.round((source[i + channel] ?? 0) * (factors[channel] ?? 0));
          codes[offset + i + channel] = code > 127 ? 127 : code < -128 ? -128 : code;
        }
      }
    });
  }

  free(): void {
    for (const tensors of this.#ranges.values()) for (const tensor of tensors) tensor.release();
    this.#ranges.clear();
    for (const { tensor, memory } of this.#scales) {
      tensor.release();
      memory.free();
    }
    for (const memory of this.#memories) memory.free();
  }

  /** `start` … `end`: elements of the head's stretch within a slot; `offset`: of the slot. */
  #eachHead(
    { place, slot, from, to }: KvStretch,
    use: (head: { codes: Int8Array; scales: Float32Array; start: number; end: number; offset: number }) => void,
  ): void {
    const codes = this.#values[place];
    const { values: all } = this.#scaleAt(place);
    if (!(codes instanceof Int8Array)) throw new RangeError(`no int8 at place ${place}`);
    const headDim = this.#headDim;
    for (let head = 0; head < this.#kvHeads; head++) {
      const scales = all.subarray(head * headDim, (head + 1) * headDim);
      const [start, end] = [from, to].map((position) => head * this.#rowElements + position * headDim);
      use({ codes, scales, start: start ?? 0, end: end ?? 0, offset: slot * this.#slotElements });
    }
  }

  #scaleAt(place: number): Scales {
    const scales = this.#scales[place];
    if (scales === undefined) throw new RangeError(`no scales at place ${place} of a ${this.type} cache`);
    return scales;
  }

  #scalesOf(all: Float32Array, place: number): Scales {
    const channels = this.#kvHeads * this.#headDim;
    const memory = Memory.allocate(channels * ELEMENT_BYTES.float32);
    const values = new Float32Array(memory.buffer);
    values.set(all.subarray(place * channels, (place + 1) * channels));
    const shape = [1, this.#kvHeads, 1, this.#headDim];
    return { values, memory, tensor: new Tensor({ pointer: memory.pointer, type: 'float32', shape }) };
  }

  #makeTensors(first: number, count: number): readonly Tensor[] {
    const shape = [count, this.#kvHeads, this.#capacity, this.#headDim];
    const offset = BigInt(first * this.#slotElements * this.#elementBytes);
    return this.#memories.map(({ pointer }) => new Tensor({ pointer: pointer + offset, type: this.type, shape }));
  }

  #touch(slot: number, end: number): void {
    this.#touched[slot] = Math.max(this.#touched[slot] ?? 0, end);
  }

  get #elementBytes(): number {
    return ELEMENT_BYTES[this.type];
  }

  get #rowElements(): number {
    return this.#capacity * this.#headDim;
  }

  get #slotElements(): number {
    return this.#kvHeads * this.#rowElements;
  }
}
