/** Draws greedy and unseeded tokens on the GPU, without the host. Knows no plan. */
import type { Cuda } from '../runtime/cudart.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { Binding, TensorView } from '../runtime/session.ts';
import { drawGraph } from './draw-graphs.ts';
import type { DrawKind } from './draw-graphs.ts';
import type { PartLayout } from './plan-inputs.ts';
import type { StepMemory } from './step-memory.ts';

interface Drawer {
  readonly session: Session;
  readonly eager: Binding;
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
      const session = new Session(model, { threads: 1, initializers: new Map<string, TensorView>(), cuda: settings });
      return { session, eager: session.bind(), captured: new Map() };
    };
    this.#drawers = { greedy: open('greedy'), sampled: open('sampled'), mixed: open('mixed') };
  }

  /** Draws `count` tokens from the first rows of logits to the draws from `first` on. Queued on the stream. */
  run(kind: DrawKind, layout: PartLayout, { first, count }: { first: number; count: number }): void {
    const { eager } = this.#drawers[kind];
    this.#bind(kind, eager, { layout, first, count });
    eager.run(this.#eager);
  }

  /** The same from draw 0 on, as a CUDA graph; `layout` is always the same for one `key`. */
  replay(kind: DrawKind, key: string, { layout, count }: { layout: PartLayout; count: number }): void {
    const { session, captured } = this.#drawers[kind];
    let run = captured.get(key);
    if (run === undefined) {
      run = { binding: session.bind(), options: new RunOptions(++this.#graphs) };
      this.#bind(kind, run.binding, { layout, first: 0, count });
      captured.set(key, run);
    }
    run.binding.run(run.options);
  }

  release(): void {
    for (const { session, eager, captured } of Object.values(this.#drawers)) {
      eager.release();
      for (const { binding, options } of captured.values()) {
        binding.release();
        options.release();
      }
      session.release();
    }
    this.#eager.release();
  }

  #bind(kind: DrawKind, binding: Binding, at: { layout: PartLayout; first: number; count: number }): void {
    const { layout, first, count } = at;
    const memory = this.#memory;
    binding.input('logits', memory.logits(count));
    if (kind !== 'greedy') {
      binding.input('temperature', memory.input(layout.temperature, 'float32', [count, 1]));
      binding.input('block_uniform', memory.input(layout.blockUniform, 'float32', [count, 1]));
      binding.input('token_uniform', memory.input(layout.tokenUniform, 'float32', [count, 1]));
    }
    binding.output('token', memory.tokens(first, count));
    binding.output('check', memory.checks(first, count));
  }
}
