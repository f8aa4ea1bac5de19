/** The KV cache on the GPU: blocks of positions in every layer, and copies between them. Knows no sequences. */
import { ELEMENT_BYTES } from '../runtime/ort-api.ts';
import type { Cuda, DeviceMemory } from '../runtime/cudart.ts';
import { Tensor } from '../runtime/session.ts';
import type { Binding } from '../runtime/session.ts';
import type { KvCopy } from '../../kv/kv-cache.ts';
import { cacheInput, cacheOutput, KV_KINDS } from './paged-graph.ts';
import type { KvType } from './paged-graph.ts';

export interface KvShape {
  readonly layers: number;
  readonly blocks: number;
  readonly blockSize: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly type: KvType;
}

export class KvBlocks {
  readonly shape: KvShape;
  readonly #cuda: Cuda;
  readonly #memory: DeviceMemory;
  /** Keys and values of layer 0, of layer 1, …: each [blocks, blockSize, kvHeads, headDim]. */
  readonly #tensors: readonly Tensor[];

  constructor(cuda: Cuda, shape: KvShape) {
    this.#cuda = cuda;
    this.shape = shape;
    const { blocks, blockSize, kvHeads, headDim, type, layers } = shape;
    this.#memory = cuda.allocate(2 * layers * this.#cacheBytes);
    // Rows that only fill up a bucket read what was never written.
    cuda.fill(this.#memory.pointer, 0, this.#memory.bytes);
    this.#tensors = Array.from({ length: 2 * layers }, (_, place) => {
      const view = { type, shape: [blocks, blockSize, kvHeads, headDim], device: cuda.device };
      return new Tensor({ ...view, pointer: this.pointer(place) });
    });
  }

  /** Of keys (place 2 × layer) or values (2 × layer + 1). */
  pointer(place: number): bigint {
    return this.#memory.pointer + BigInt(place * this.#cacheBytes);
  }

  bind(binding: Binding): void {
    this.#tensors.forEach((tensor, place) => {
      const kind = KV_KINDS[place % 2] ?? 'key';
      const layer = Math.floor(place / 2);
      binding.lendInput(cacheInput(kind, layer), tensor);
      binding.lendOutput(cacheOutput(kind, layer), tensor);
    });
  }

  /** Queued on the stream. */
  copy({ from, to, tokens }: KvCopy): void {
    const { layers, blockSize } = this.shape;
    const block = blockSize * this.#positionBytes;
    for (let place = 0; place < 2 * layers; place++) {
      const base = this.pointer(place);
      this.#cuda.copy(base + BigInt(to * block), base + BigInt(from * block), tokens * this.#positionBytes);
    }
  }

  free(): void {
    for (const tensor of this.#tensors) tensor.release();
    this.#cuda.free(this.#memory);
  }

  get #positionBytes(): number {
    const { kvHeads, headDim, type } = this.shape;
    return kvHeads * headDim * ELEMENT_BYTES[type];
  }

  get #cacheBytes(): number {
    return this.shape.blocks * this.shape.blockSize * this.#positionBytes;
  }
}
