/** Draws greedy and unseeded tokens on the GPU, without the host. Knows no plan. */
import type { Cuda } from '../runtime/cudart.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { Binding } from '../runtime/session.ts';
import { drawGraph } from './draw-graphs.ts';
import type { DrawKind } from './draw-graphs.ts';
import type { PartLayout } from './plan-inputs.ts';
import type { StepMemory } from './step-memory.ts';

/**
 * Rows drawn at once by themselves: working memory is 1 MB a row (V = 128,256), which each kind keeps. 1,024 rows take 1.2
 * ms in pieces for 1.0 at once (H100), and leave 2.3 GB more for keys and values.
 */
const PIECE_ROWS = 256;

interface Drawer {
  readonly session: Session;
  /** By piece. */
  readonly eager: Binding[];
  /** By rows: they begin at the first draw and read the bucket's own inputs. */
  readonly captured: Map<string, { readonly binding: Binding; readonly options: RunOptions }>;
}

export class DeviceDraw {
  readonly #memory: StepMemory;
  readonly #drawers: Readonly<Record<DrawKind, Drawer>>;
  readonly #eager = new RunOptions(null);
  #graphs = 0;

  constructor(cuda: Cuda, memory: StepMemory) {
    this.#memory = memory;
    const { vocabSize } = memory.sizes;
    const open = (kind: DrawKind): Drawer => {
      const model = drawGraph(kind, vocabSize);
      const settings = { device: cuda.device, stream: cuda.stream, graphs: true };
      const session = new Session(model, { threads: 1, cuda: settings });
      return { session, eager: [], captured: new Map() };
    };
    this.#drawers = { greedy: open('greedy'), sampled: open('sampled'), mixed: open('mixed') };
  }

  /** Draws `count` tokens from the first rows of logits to the draws from `first` on. Queued on the stream. */
  run(kind: DrawKind, layout: PartLayout, { first, count }: { first: number; count: number }): void {
    const { session, eager } = this.#drawers[kind];
    for (let piece = 0, row = 0; row < count; piece++, row += PIECE_ROWS) {
      const binding = (eager[piece] ??= session.bind());
      const rows = Math.min(PIECE_ROWS, count - row);
      this.#bind(kind, binding, { layout, row, rows, draw: first + row });
      binding.run(this.#eager);
    }
  }

  /** The same from draw 0 on, as a CUDA graph; `layout` is always the same for one `key`. */
  replay(kind: DrawKind, key: string, { layout, count }: { layout: PartLayout; count: number }): void {
    const { session, captured } = this.#drawers[kind];
    let run = captured.get(key);
    if (run === undefined) {
      run = { binding: session.bind(), options: new RunOptions(++this.#graphs) };
      this.#bind(kind, run.binding, { layout, row: 0, rows: count, draw: 0 });
      captured.set(key, run);
    }
    run.binding.run(run.options);
  }

  release(): void {
    for (const { session, eager, captured } of Object.values(this.#drawers)) {
      for (const binding of eager) binding.release();
      for (const { binding, options } of captured.values()) {
        binding.release();
        options.release();
      }
      session.release();
    }
    this.#eager.release();
  }

  /** Of `rows` rows from `row` on, to the draws from `draw` on. */
  #bind(kind: DrawKind, binding: Binding, at: DrawnRows): void {
    const { layout, row, rows, draw } = at;
    const memory = this.#memory;
    binding.input('logits', memory.logits(rows, row));
    if (kind !== 'greedy') {
      const input = (name: string, start: number): void =>
        binding.input(name, memory.input(start + row, 'float32', [rows, 1]));
      input('temperature', layout.temperature);
      input('block_uniform', layout.blockUniform);
      input('token_uniform', layout.tokenUniform);
    }
    binding.output('token', memory.tokens(draw, rows));
    binding.output('check', memory.checks(draw, rows));
  }
}

interface DrawnRows {
  readonly layout: PartLayout;
  readonly row: number;
  readonly rows: number;
  readonly draw: number;
}
