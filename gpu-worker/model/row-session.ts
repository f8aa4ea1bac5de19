/** One small graph over rows of logits, ready to run: its session and the memory of all but the logits. Knows no sampling. */
import { Memory } from './runtime/memory.ts';
import { Session } from './runtime/session.ts';
import type { Binding, TensorView } from './runtime/session.ts';
import type { RowGraph, RowTensor } from './sampling-graphs.ts';

/** Of float32 and int32 alike. */
const ELEMENT_BYTES = 4;

export class RowSession {
  readonly #vocabSize: number;
  readonly #inputs: readonly RowTensor[];
  readonly #outputs: readonly RowTensor[];
  readonly #memory = new Map<string, { readonly memory: Memory; readonly columns: number }>();
  readonly #session: Session;
  readonly #binding: Binding;

  constructor(graph: RowGraph, maxRows: number) {
    this.#vocabSize = graph.vocabSize;
    this.#inputs = graph.inputs;
    this.#outputs = graph.outputs;
    for (const { name, columns } of [...graph.inputs, ...graph.outputs]) {
      this.#memory.set(name, { memory: Memory.allocate(maxRows * columns * ELEMENT_BYTES), columns });
    }
    // A second pool of threads would spin on the cores that the model's next run needs: measured at half its speed.
    this.#session = new Session(graph.model, { threads: 1 });
    this.#binding = this.#session.bind();
  }

  /** `logits`: the first of `rows` rows [V] of float32. */
  run(logits: bigint, rows: number): void {
    this.#binding.input('logits', { pointer: logits, type: 'float32', shape: [rows, this.#vocabSize] });
    for (const input of this.#inputs) this.#binding.input(input.name, this.#view(input, rows));
    for (const output of this.#outputs) this.#binding.output(output.name, this.#view(output, rows));
    this.#binding.run();
  }

  /** [columns] of one row of a float32 tensor: inputs to fill before a run, outputs until the next one. */
  floats(name: string, row: number): Float32Array {
    const { memory, columns } = this.#tensor(name);
    return new Float32Array(memory.buffer, row * columns * ELEMENT_BYTES, columns);
  }

  /** The same of an int32 tensor. */
  ints(name: string, row: number): Int32Array {
    const { memory, columns } = this.#tensor(name);
    return new Int32Array(memory.buffer, row * columns * ELEMENT_BYTES, columns);
  }

  free(): void {
    this.#binding.release();
    this.#session.release();
    for (const { memory } of this.#memory.values()) memory.free();
  }

  #view({ name, type, columns }: RowTensor, rows: number): TensorView {
    return { pointer: this.#tensor(name).memory.pointer, type, shape: [rows, columns] };
  }

  #tensor(name: string): { readonly memory: Memory; readonly columns: number } {
    const tensor = this.#memory.get(name);
    if (tensor === undefined) throw new Error(`the graph has no tensor ${name}`);
    return tensor;
  }
}
