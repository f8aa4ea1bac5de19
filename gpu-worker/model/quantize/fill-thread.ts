/** A helper thread of `fillAll`: opens the folder, does units until none is left, ends. */
import { workerData } from 'node:worker_threads';
import { Memory } from '../runtime/memory.ts';
import { openSafetensors } from '../safetensors.ts';
import { fillPlanned, sinkOf } from './fill-all.ts';
import type { HelperData } from './fill-all.ts';
import { fillUnits } from './fill.ts';
import { WorkBoard } from './work-board.ts';

const { folder, layout, target, board } = workerData as HelperData;
const source = openSafetensors(folder);
try {
  const buffer = target.type === 'memory' ? Memory.borrow(target.pointer, target.bytes) : null;
  const sink = sinkOf(target, buffer);
  const units = fillUnits(layout);
  new WorkBoard(board).work((index) => {
    const unit = units[index];
    if (unit !== undefined) fillPlanned(source, layout, { ...unit, sink });
  });
} finally {
  source.close();
}
