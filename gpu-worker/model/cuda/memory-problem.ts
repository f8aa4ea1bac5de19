/** Pure: says what to do where CUDA or ONNX Runtime only say that memory ran out. Knows no GPU. */
import { gibibytes } from './kv-layout.ts';

const SIGNS = /out of memory|failed to allocate memory|available memory of/i;
/** The host's memory. */
const OTHERS = /mmap|cudaHostAlloc/;
const ASKED = /requested (?:buffer of size|bytes of) (\d+)/;

/** Of an error while a model is opened; any other error as it is. `memory` of the GPU, bytes. */
export function explainedMemory(
  error: unknown,
  memory: () => { readonly free: number; readonly total: number },
): unknown {
  const text = error instanceof Error ? error.message : String(error);
  if (!SIGNS.test(text) || OTHERS.test(text)) return error;
  const { free, total } = memory();
  const asked = ASKED.exec(text)?.[1];
  const more = asked === undefined ? '' : `, ${gibibytes(Number(asked))} more were asked for`;
  return new RangeError(
    `GPU memory ran out while the model was opened: ${gibibytes(free)} of ${gibibytes(total)} GiB were free${more}; ` +
      'lower --max-num-batched-tokens (maxNumBatchedTokens) or --max-num-seqs (maxNumSeqs), end what else uses the GPU, ' +
      'or take a smaller model',
    { cause: error },
  );
}
