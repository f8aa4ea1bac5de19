/** What the sampler needs to draw from logits in GPU memory: its graphs run there, and of their outputs only what is read comes over. Knows no draws. */
import type { Cuda, DeviceMemory, PinnedMemory } from '../runtime/cudart.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { Binding, TensorView } from '../runtime/session.ts';
import { sinceHistory } from '../sampler.ts';
import type { DrawTarget, RowGraphRunner, SamplerBackend } from '../sampler.ts';
import type { RowGraph, RowTensor } from '../sampling-graphs.ts';
import type { DeviceRules } from './device-rules.ts';
import { fitsGraph } from './rules-inputs.ts';
import type { RuledRow } from './rules-inputs.ts';
import type { StepMemory } from './step-memory.ts';

/** Of float32 and int32 alike. */
const ELEMENT_BYTES = 4;
/** Outputs of no more columns come over whole; of larger ones the rows that somebody reads. */
const SMALL_COLUMNS = 256;
/** Rows that pass through the graphs at once. */
const CHUNK_ROWS = 64;

/** Draws from the step's logits; `begin` blocks until they are there. */
export function deviceBackend(cuda: Cuda, memory: StepMemory, rules: DeviceRules): SamplerBackend & { begin(): void } {
  const { vocabSize, maxLogits } = memory.sizes;
  const { pointer } = memory.logits(1);
  const rowBytes = vocabSize * ELEMENT_BYTES;
  const fetched = new Map<number, Float32Array>();
  const scratch = cuda.allocatePinned(rowBytes);
  const values = new Float32Array(scratch.buffer);
  const addressOf = (index: number): bigint => pointer + BigInt(index * rowBytes);
  return {
    target: 'cuda',
    logits: pointer,
    chunkRows: Math.min(maxLogits, CHUNK_ROWS),
    begin: () => {
      fetched.clear();
      cuda.synchronize();
    },
    row: (index) => {
      const known = fetched.get(index);
      if (known !== undefined) return known;
      cuda.toHost(scratch.pointer, addressOf(index), rowBytes);
      cuda.synchronize();
      const row = values.slice();
      fetched.set(index, row);
      return row;
    },
    changed: (index) => {
      values.set(fetched.get(index) ?? []);
      cuda.toDevice(addressOf(index), scratch.pointer, rowBytes);
      // The page-locked memory serves the next row.
      cuda.synchronize();
    },
    value: (index, id) => {
      cuda.toHost(scratch.pointer, addressOf(index) + BigInt(id * ELEMENT_BYTES), ELEMENT_BYTES);
      cuda.synchronize();
      return values[0] ?? NaN;
    },
    applyRules: (targets, first) => {
      const ruled: number[] = [];
      const masked: number[] = [];
      targets.forEach(({ spec }, i) => {
        if (spec.rules !== null) (fitsGraph(spec.rules) ? ruled : masked).push(i);
      });
      const rows = ruled.flatMap((i) => ruledRow(targets[i], first + i));
      return rules.applyNow(rows) ? masked : [...ruled, ...masked];
    },
    open: (graph, rows) => new DeviceRowSession(cuda, graph, rows),
    free: () => {},
  };
}

function ruledRow(target: DrawTarget | undefined, logits: number): readonly RuledRow[] {
  const rules = target?.spec.rules ?? null;
  if (target === undefined || rules === null) return [];
  const { spec, drafts } = target;
  return [{ logits, rules, index: spec.index + drafts.length, since: sinceHistory(target), pending: null }];
}

interface Column extends RowTensor {
  readonly device: DeviceMemory;
  /** All rows of a small tensor, one row of a large one. */
  readonly host: PinnedMemory;
}

class DeviceRowSession implements RowGraphRunner {
  readonly #cuda: Cuda;
  readonly #graph: RowGraph;
  readonly #columns = new Map<string, Column>();
  readonly #session: Session;
  readonly #binding: Binding;
  readonly #options = new RunOptions(null);

  constructor(cuda: Cuda, graph: RowGraph, maxRows: number) {
    this.#cuda = cuda;
    this.#graph = graph;
    for (const tensor of [...graph.inputs, ...graph.outputs]) {
      const rowBytes = tensor.columns * ELEMENT_BYTES;
      const hostRows = tensor.columns <= SMALL_COLUMNS ? maxRows : 1;
      const [device, host] = [cuda.allocate(maxRows * rowBytes), cuda.allocatePinned(hostRows * rowBytes)];
      this.#columns.set(tensor.name, { ...tensor, device, host });
    }
    this.#session = new Session(graph.model, {
      threads: 1,
      cuda: { device: cuda.device, stream: cuda.stream, graphs: false },
    });
    this.#binding = this.#session.bind();
  }

  run(logits: bigint, rows: number): void {
    const { device } = this.#cuda;
    this.#binding.input('logits', { pointer: logits, type: 'float32', shape: [rows, this.#graph.vocabSize], device });
    for (const { name } of this.#graph.inputs) {
      const column = this.#column(name);
      this.#cuda.toDevice(column.device.pointer, column.host.pointer, rows * column.columns * ELEMENT_BYTES);
      this.#binding.input(name, this.#view(column, rows));
    }
    for (const { name } of this.#graph.outputs) this.#binding.output(name, this.#view(this.#column(name), rows));
    this.#binding.run(this.#options);
    for (const { name } of this.#graph.outputs) {
      const { columns, host, device: memory } = this.#column(name);
      if (columns <= SMALL_COLUMNS) this.#cuda.toHost(host.pointer, memory.pointer, rows * columns * ELEMENT_BYTES);
    }
    this.#cuda.synchronize();
  }

  floats(name: string, row: number): Float32Array {
    const { columns, host } = this.#column(name);
    return new Float32Array(host.buffer, this.#offsetOf(name, row), columns);
  }

  ints(name: string, row: number): Int32Array {
    const { columns, host } = this.#column(name);
    return new Int32Array(host.buffer, this.#offsetOf(name, row), columns);
  }

  free(): void {
    this.#binding.release();
    this.#options.release();
    this.#session.release();
    for (const { device } of this.#columns.values()) this.#cuda.free(device);
  }

  /** Of the row on the host, where a large one is fetched to. */
  #offsetOf(name: string, row: number): number {
    const { columns, host, device } = this.#column(name);
    const rowBytes = columns * ELEMENT_BYTES;
    if (columns <= SMALL_COLUMNS) return row * rowBytes;
    this.#cuda.toHost(host.pointer, device.pointer + BigInt(row * rowBytes), rowBytes);
    this.#cuda.synchronize();
    return 0;
  }

  #view({ device, type, columns }: Column, rows: number): TensorView {
    return { pointer: device.pointer, type, shape: [rows, columns], device: this.#cuda.device };
  }

  #column(name: string): Column {
    const column = this.#columns.get(name);
    if (column === undefined) throw new Error(`the graph has no tensor ${name}`);
    return column;
  }
}
