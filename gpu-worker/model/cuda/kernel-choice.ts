/** Which of ONNX Runtime's kernels a session is made with, by the rows of its decode steps. Knows no session. */
import { setDefaultVariable } from '../runtime/environment.ts';

/** Up to so many rows, and to so many more, some operators are best done by other kernels: see the graph. */
export const FEW_ROWS = 32;
export const MEDIUM_ROWS = 128;
/** Up to so many rows the plain int4 kernel is as fast as the other (H100: 3.6 to 4.5 ms at 1, 4.7 to 5.0 at 4). */
const PLAIN_INT4_ROWS = 4;

const KERNEL_KEY = 'ep.cuda.fpa_intb_gemm';

const isInt4 = (quantization: string): boolean => quantization.startsWith('int4');

/** The most rows of a decode step of each session that a model has, fewest first: the last one runs all else, too. */
export function sessionRows(quantization: string, maxNumSeqs: number): readonly number[] {
  return [...smallSessions(quantization).filter((rows) => rows < maxNumSeqs), maxNumSeqs];
}

/** The kernel that keeps its pace with rounded weights lays them out anew: one session has it, a second would do so again. */
function smallSessions(quantization: string): readonly number[] {
  if (quantization === 'none') return [FEW_ROWS, MEDIUM_ROWS];
  return isInt4(quantization) ? [PLAIN_INT4_ROWS] : [];
}

/**
 * Session configuration. ONNX Runtime has two kernels for rounded weights: a plain one, best for int4 and very few rows,
 * and one of TensorRT-LLM's that keeps its pace (int4 at 16 rows 12.3 against 5.8 ms).
 */
export function roundedKernel(quantization: string, maxRows: number): Readonly<Record<string, string>> {
  if (quantization === 'none') return {};
  const isPlain = isInt4(quantization) && maxRows <= PLAIN_INT4_ROWS;
  return { [KERNEL_KEY]: isPlain ? '0' : '1' };
}

/**
 * Without working memory cuBLAS splits no product into sums that a second kernel adds up, and is faster for it: a step of
 * 1, 16, 64 or 256 rows takes 6.55, 6.79, 7.49 and 11.40 ms for 6.72, 6.97, 7.57 and 11.48 (H100, Llama 3 8B).
 */
export function chooseProductKernels(): void {
  setDefaultVariable('CUBLAS_WORKSPACE_CONFIG', ':0:0');
}
