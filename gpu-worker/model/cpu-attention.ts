/** The attention of every layer on the CPU, over a KV cache in float32 or int8. Knows no plan. */
import type { ModelConfig } from './config.ts';
import { attentionGraph, KV_KINDS, scaleInput } from './graph/cpu-graph.ts';
import type { CpuKvType } from './graph/cpu-graph.ts';
import { kvBytesPerToken } from './kv-slots.ts';
import type { KvSlots } from './kv-slots.ts';
import type { PartTensors } from './run-buffers.ts';
import { Memory } from './runtime/memory.ts';
import { Session, Tensor } from './runtime/session.ts';
import type { Binding } from './runtime/session.ts';
import type { WeightStore } from './weight-store.ts';

/** Parts whose bindings are kept from step to step; further parts take turns with them. */
const KEPT_PARTS = 8;
const LONG_CHUNK_PER_THREAD = 8;
/** More than a row of drafts has. */
const LEAST_LONG_CHUNK = 24;

/**
 * From so many tokens on a chunk attends in float32 also where the cache is int8: ONNX Runtime's int8 kernel takes 3.3
 * times as long for 256 tokens after 1,024 (two threads; at 16 tokens 2.2 times), while expanding and rounding, which one
 * thread does, take as long as 9 tokens. Drafts stay with the kernel that runs single tokens.
 */
export const longChunk = (threads: number): number => Math.max(LEAST_LONG_CHUNK, LONG_CHUNK_PER_THREAD * threads);

/** B sequences in adjacent slots with S tokens each; one of B and S is 1. */
export interface AttendedPart extends PartTensors {
  /** Tokens of each sequence. */
  readonly length: number;
  /** Of the first sequence: its slot, and its tokens in KV before this run. */
  readonly slot: number;
  readonly start: number;
  /** Keys and values of layer 0, of layer 1, … of all of them, in the cache's format. */
  readonly cache: readonly Tensor[];
}

export interface CpuAttentionOptions {
  /** Positions of a slot. */
  readonly capacity: number;
  /** int8: for caches of either format. */
  readonly kvType: CpuKvType;
  /** From so many tokens on a chunk attends in float32 over either; by default none does. */
  readonly longChunk?: number;
}

/** What long chunks attend to in float32 beside an int8 cache: one sequence in one layer. */
export function expandedBytes(config: ModelConfig, { capacity, kvType }: CpuAttentionOptions): number {
  return kvType === 'float32' ? 0 : (capacity * kvBytesPerToken(config)) / config.layers;
}

export class CpuAttention {
  readonly #config: ModelConfig;
  readonly #longChunk: number;
  /** [layers] by format: layers of one kind share a session. */
  readonly #sessions: Readonly<Record<CpuKvType, readonly Session[]>>;
  /** [KEPT_PARTS × layers] by format, made when first needed. */
  readonly #bindings: Readonly<Record<CpuKvType, Binding[]>> = { float32: [], int8: [] };
  /** Keys and values of one slot in one layer: where long chunks attend. */
  readonly #whole: readonly { readonly memory: Memory; readonly values: Float32Array; readonly tensor: Tensor }[];
  readonly #open: Session[] = [];

  /** The store must live longer. Releases what it made when it throws. */
  constructor(config: ModelConfig, store: WeightStore, options: CpuAttentionOptions) {
    const { capacity, kvType } = options;
    this.#config = config;
    this.#longChunk = options.longChunk ?? Infinity;
    const shape = [1, config.kvHeads, capacity, config.headDim];
    const sessionsFor = (type: CpuKvType): readonly Session[] => {
      const kinds = new Map<object, Session>();
      return config.attention.map((kind) => {
        const known = kinds.get(kind);
        if (known !== undefined) return known;
        const { model, initializers } = attentionGraph(config, store, { kind, capacity, kvType: type });
        const session = new Session(model, { threads: 'shared', initializers });
        this.#open.push(session);
        kinds.set(kind, session);
        return session;
      });
    };
    try {
      this.#sessions = { float32: sessionsFor('float32'), int8: kvType === 'int8' ? sessionsFor('int8') : [] };
    } catch (error) {
      for (const session of this.#open) session.release();
      throw error;
    }
    this.#whole = (kvType === 'int8' ? KV_KINDS : []).map(() => {
      const memory = Memory.allocate(shape.reduce((product, size) => product * size, Float32Array.BYTES_PER_ELEMENT));
      const tensor = new Tensor({ pointer: memory.pointer, type: 'float32', shape });
      return { memory, values: new Float32Array(memory.buffer), tensor };
    });
  }

  /** Writes what the part's tokens attend to, and their keys and values to the cache. `at`: which part of the run. */
  attend(part: AttendedPart, kv: KvSlots, { at, layer }: { at: number; layer: number }): void {
    const binding = (type: CpuKvType): Binding => this.#bind(part, type, { at, layer });
    if (kv.type === 'int8' && part.length >= this.#longChunk) {
      this.#attendInFloat(part, kv, { binding: binding('float32'), layer });
      return;
    }
    const bound = binding(kv.type);
    lendCache(bound, part.cache, 2 * layer);
    if (kv.type === 'int8')
      KV_KINDS.forEach((kind, offset) => bound.lendInput(scaleInput(kind), kv.scale(2 * layer + offset)));
    bound.run();
  }

  release(): void {
    for (const binding of [...this.#bindings.float32, ...this.#bindings.int8]) binding?.release();
    for (const session of this.#open) session.release();
    for (const { tensor, memory } of this.#whole) {
      tensor.release();
      memory.free();
    }
  }

  #attendInFloat(part: AttendedPart, kv: KvSlots, { binding, layer }: { binding: Binding; layer: number }): void {
    const { slot, start, length } = part;
    const place = (offset: number): number => 2 * layer + offset;
    // Also what lies before a window: it weighs nothing, but another sequence's NaN there would make NaN of it.
    const before = { slot, from: 0, to: start };
    this.#whole.forEach(({ values }, offset) => kv.expand({ place: place(offset), ...before }, values));
    const tensors = this.#whole.map(({ tensor }) => tensor);
    lendCache(binding, tensors, 0);
    binding.run();
    const written = { slot, from: start, to: start + length };
    this.#whole.forEach(({ values }, offset) => kv.round({ place: place(offset), ...written }, values));
  }

  #bind(part: AttendedPart, type: CpuKvType, { at, layer }: { at: number; layer: number }): Binding {
    const session = this.#sessions[type][layer];
    if (session === undefined) throw new RangeError(`no ${type} attention for layer ${layer}`);
    const index = (at % KEPT_PARTS) * this.#config.layers + layer;
    const binding = (this.#bindings[type][index] ??= session.bind());
    binding.lendInput('qkv', part.qkv);
    binding.lendInput('seqlens_k', part.seqlens);
    binding.lendInput('total_length', part.total);
    binding.lendOutput('attended', part.attended);
    return binding;
  }
}

/** The two tensors from `place` on; past and present are the same memory. */
function lendCache(binding: Binding, tensors: readonly Tensor[], place: number): void {
  KV_KINDS.forEach((kind, offset) => {
    const tensor = tensors[place + offset];
    if (tensor === undefined) throw new RangeError(`${tensors.length} KV tensors, none at ${place + offset}`);
    binding.lendInput(`past_${kind}`, tensor);
    binding.lendOutput(`present_${kind}`, tensor);
  });
}
