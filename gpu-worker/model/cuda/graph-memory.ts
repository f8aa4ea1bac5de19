/** How much GPU memory CUDA graphs have taken, and whether there is room for one more. Knows no CUDA. */

export interface GraphUse {
  /** Bytes that all have taken, and that the one taking most did. */
  readonly bytes: number;
  readonly largest: number;
}

/** Set aside unless somebody says how many. A graph of 32 layers, 550 nodes, takes 2 MiB, the first one 32 (H100). */
export const DEFAULT_GRAPH_BYTES = 2 ** 29;

/** Whether one more graph fits, though it should take as much as the largest so far. */
export function mayCapture({ bytes, largest }: GraphUse, reservedBytes: number): boolean {
  return reservedBytes > 0 && bytes + largest <= reservedBytes;
}

/**
 * ONNX Runtime gives a graph's memory back with its session only, so none makes room for another: what has none when
 * the reserve is used up runs kernel by kernel.
 */
export class GraphMemory {
  readonly #reservedBytes: number;
  /** Bytes of the GPU's memory that are free. */
  readonly #free: () => number;
  readonly #captured = new Set<string>();
  #use: GraphUse = { bytes: 0, largest: 0 };

  constructor(reservedBytes: number, free: () => number) {
    this.#reservedBytes = reservedBytes;
    this.#free = free;
  }

  get use(): GraphUse & { readonly graphs: number } {
    return { ...this.#use, graphs: this.#captured.size };
  }

  /** Whether the graph `key` is captured or may be. */
  has(key: string): boolean {
    return this.#captured.has(key) || mayCapture(this.#use, this.#reservedBytes);
  }

  /** Runs what captures the graph `key` the first time. */
  run(key: string, replay: () => void): void {
    if (this.#captured.has(key)) return replay();
    const before = this.#free();
    replay();
    // Somebody else may have freed memory meanwhile.
    const taken = Math.max(0, before - this.#free());
    this.#captured.add(key);
    this.#use = { bytes: this.#use.bytes + taken, largest: Math.max(this.#use.largest, taken) };
  }
}
