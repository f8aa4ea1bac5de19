/** The KV cache on the CPU: one row of positions per slot and layer, and how many of them hold a sequence. Knows no runs. */
import type { KvCopy, KvDrop } from '../kv/kv-cache.ts';
import type { ModelConfig } from './config.ts';
import { Memory } from './runtime/memory.ts';
import { Tensor } from './runtime/session.ts';

const FLOAT_BYTES = 4;
/** Ranges of slots whose tensors are kept: those that ran lately. */
const MAX_RANGES = 256;

/** Bytes of keys and values of one token in all layers. */
export const kvBytesPerToken = (config: ModelConfig): number =>
  2 * config.layers * config.kvHeads * config.headDim * FLOAT_BYTES;

export class KvSlots {
  /** [slots]: positions 0 … n − 1 are a sequence's. */
  readonly used: Int32Array;
  readonly #kvHeads: number;
  readonly #capacity: number;
  readonly #headDim: number;
  /**
   * Keys and values of layer 0, of layer 1, …: each [slots, kvHeads, capacity, headDim] float32. The kernel maps pages
   * on first touch.
   */
  readonly #memories: readonly Memory[];
  readonly #values: readonly Float32Array[];
  /** [slots]: positions from n on were never written since the memory was mapped or last given back. */
  readonly #touched: Int32Array;
  /** By first slot and number of slots, the least recently used first. */
  readonly #ranges = new Map<number, readonly Tensor[]>();

  /** `capacity`: positions of a slot. */
  constructor(config: ModelConfig, slots: number, capacity: number) {
    this.used = new Int32Array(slots);
    this.#touched = new Int32Array(slots);
    this.#kvHeads = config.kvHeads;
    this.#capacity = capacity;
    this.#headDim = config.headDim;
    const bytes = slots * this.#slotElements * FLOAT_BYTES;
    this.#memories = Array.from({ length: 2 * config.layers }, () => Memory.allocate(bytes));
    this.#values = this.#memories.map(({ buffer }) => new Float32Array(buffer));
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
    for (const memory of this.#memories) {
      for (let head = 0; head < this.#kvHeads; head++) {
        const start = block * this.#slotElements + head * this.#rowElements;
        memory.discard((start + tokens * this.#headDim) * FLOAT_BYTES, (start + touched * this.#headDim) * FLOAT_BYTES);
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

  free(): void {
    for (const tensors of this.#ranges.values()) for (const tensor of tensors) tensor.release();
    this.#ranges.clear();
    for (const memory of this.#memories) memory.free();
  }

  #makeTensors(first: number, count: number): readonly Tensor[] {
    const shape = [count, this.#kvHeads, this.#capacity, this.#headDim];
    const offset = BigInt(first * this.#slotElements * FLOAT_BYTES);
    return this.#memories.map(({ pointer }) => new Tensor({ pointer: pointer + offset, type: 'float32', shape }));
  }

  #touch(slot: number, end: number): void {
    this.#touched[slot] = Math.max(this.#touched[slot] ?? 0, end);
  }

  get #rowElements(): number {
    return this.#capacity * this.#headDim;
  }

  get #slotElements(): number {
    return this.#kvHeads * this.#rowElements;
  }
}
