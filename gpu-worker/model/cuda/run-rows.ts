/** Runs rows outside any plan: what opening a model measures with. Knows no draw. */
import type { PlanRow } from '../../engine/step-plan.ts';
import type { PagedDecoder } from './paged-decoder.ts';
import { layoutOf, packPart } from './plan-inputs.ts';
import type { Part, PartLayout } from './plan-inputs.ts';
import type { StepMemory } from './step-memory.ts';

export interface RowsRun {
  readonly memory: StepMemory;
  readonly decoder: PagedDecoder;
  readonly blockSize: number;
  /** Rows of logits, of the first tokens. */
  readonly logits: number;
}

/**
 * As one part, without CUDA graphs; queued on the stream. Draws from the layout returned would be at temperature 1 and
 * uniforms of a half.
 */
export function runRows(rows: readonly PlanRow[], { memory, decoder, blockSize, logits }: RowsRun): PartLayout {
  const [slot] = memory.slots;
  if (slot === undefined) throw new Error('no memory for a step');
  const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0);
  const longestRow = Math.max(...rows.map(({ ids }) => ids.length));
  const longestTotal = Math.max(...rows.map(({ start, ids }) => start + ids.length));
  const width = Math.ceil(longestTotal / blockSize);
  const places = rows.map((_, place) => place);
  const part: Part = { rows: places, tokens, draws: 0, longestRow, longestTotal, width, decode: false };
  const shape = { tokens, sequences: rows.length, width, logits };
  const layout = layoutOf(shape, 0);
  const { maxDraws: drawn } = memory.sizes;
  packPart(rows, part, { words: slot.words, layout, shape, blockSize, drawn, previous: new Map() });
  slot.floats.fill(1, layout.temperature, layout.blockUniform);
  slot.floats.fill(0.5, layout.blockUniform, layout.end);
  memory.send(slot, layout.end);
  decoder.run(shape, layout, part);
  return layout;
}
