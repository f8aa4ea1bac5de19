/** The KV cache on the CPU: one row of positions per slot and layer, and how many of them hold a sequence. Knows no runs. */
import type { SlotMove } from '../engine/step-plan.ts';
import type { ModelConfig } from './config.ts';
import { Memory } from './runtime/memory.ts';
import type { TensorView } from './runtime/session.ts';

const FLOAT_BYTES = 4;

interface Layer {
  readonly name: string;
  readonly memory: Memory;
}

export class KvSlots {
  readonly slots: number;
  /** Positions of a slot: the longest sequence and one more, where a full slot's dummy row may write. */
  readonly capacity: number;
  readonly #kvHeads: number;
  readonly #headDim: number;
  /** Keys and values of every layer, each [slots, kvHeads, capacity, headDim] float32; the kernel maps pages on first touch. */
  readonly #tensors: readonly Layer[];
  /** [slots]: positions 0 … n − 1 are a sequence's. */
  readonly #used: Int32Array;

  constructor(config: ModelConfig, slots: number, maxModelLen: number) {
    this.slots = slots;
    this.capacity = maxModelLen + 1;
    this.#kvHeads = config.kvHeads;
    this.#headDim = config.headDim;
    const bytes = slots * this.#slotElements * FLOAT_BYTES;
    this.#tensors = Array.from({ length: config.layers }, (_, layer) => layer).flatMap((layer) =>
      ['key', 'value'].map((kind) => ({ name: `${kind}.${layer}`, memory: Memory.allocate(bytes) })),
    );
    this.#used = new Int32Array(slots);
  }

  used(slot: number): number {
    return this.#used[slot] ?? 0;
  }

  setUsed(slot: number, positions: number): void {
    this.#used[slot] = positions;
  }

  move({ from, to, tokens }: SlotMove): void {
    const rowElements = this.capacity * this.#headDim;
    for (const { memory } of this.#tensors) {
      const values = new Float32Array(memory.buffer);
      for (let head = 0; head < this.#kvHeads; head++) {
        const source = from * this.#slotElements + head * rowElements;
        values.copyWithin(to * this.#slotElements + head * rowElements, source, source + tokens * this.#headDim);
      }
    }
    this.setUsed(to, tokens);
  }

  /** Slots `first` … `first + count − 1` of every tensor, by graph name without its past_ or present_. */
  views(first: number, count: number): readonly { readonly name: string; readonly view: TensorView }[] {
    const shape = [count, this.#kvHeads, this.capacity, this.#headDim];
    const offset = BigInt(first * this.#slotElements * FLOAT_BYTES);
    return this.#tensors.map(({ name, memory }) => ({
      name,
      view: { pointer: memory.pointer + offset, type: 'float32', shape },
    }));
  }

  free(): void {
    for (const { memory } of this.#tensors) memory.free();
  }

  get #slotElements(): number {
    return this.#kvHeads * this.capacity * this.#headDim;
  }
}
