/** Transposes a matrix in GPU memory. Knows no weights. */
import { GraphBuilder } from '../graph/graph-builder.ts';
import type { Cuda } from '../runtime/cudart.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { FloatType } from './paged-graph.ts';

export interface Transposed {
  readonly type: FloatType;
  readonly rows: number;
  readonly columns: number;
  /** Of [rows, columns], and of [columns, rows]. */
  readonly source: bigint;
  readonly target: bigint;
}

/** Blocks until it is done. */
export function transpose(cuda: Cuda, { type, rows, columns, source, target }: Transposed): void {
  const graph = new GraphBuilder('transpose');
  graph.input('matrix', type, [rows, columns]);
  graph.node({ op: 'Transpose', inputs: ['matrix'], attributes: { perm: [1, 0] }, outputs: ['transposed'] });
  graph.output('transposed', type, [columns, rows]);
  const { device, stream } = cuda;
  const session = new Session(graph.encode(), { threads: 1, cuda: { device, stream, graphs: false } });
  const [binding, options] = [session.bind(), new RunOptions(null)];
  try {
    binding.input('matrix', { pointer: source, type, shape: [rows, columns], device });
    binding.output('transposed', { pointer: target, type, shape: [columns, rows], device });
    binding.run(options);
    cuda.synchronize();
  } finally {
    binding.release();
    options.release();
    session.release();
  }
}
