import { expect, test } from 'vitest';
import { explainedMemory } from '../../../../gpu-worker/model/cuda/memory-problem.ts';

const MEMORY = { free: 1.5 * 2 ** 30, total: 80 * 2 ** 30 };
const explained = (message: string): string => String(explainedMemory(new Error(message), () => MEMORY));

test.each([
  [
    "ONNX Runtime RunWithBinding: Non-zero status code returned while running Gemm node. Name:'' Status Message: " +
      'bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal() Failed to allocate memory for requested ' +
      'buffer of size 2147483648\n',
    ', 2.0 more were asked for;',
  ],
  ['cudaMalloc: out of memory (2)', 'GiB were free;'],
])('memory that runs out is told with figures and flags, in one line', (message, asked) => {
  const text = explained(message);
  expect(text).toContain('1.5 of 80.0 GiB were free');
  expect(text).toContain(asked);
  expect(text).toMatch(/--max-num-batched-tokens.*--max-num-seqs/);
  expect(text).not.toContain('\n');
});

test.each([
  'cudaEventSynchronize: unspecified launch failure (719)',
  'cudaHostAlloc: out of memory (2)',
  'out of memory: mmap of 4096 bytes failed',
])('other errors stay what they are, and nothing is asked of a GPU that may be lost: %s', (message) => {
  const error = new Error(message);
  const memory = () => {
    throw new Error('lost');
  };
  expect(explainedMemory(error, memory)).toBe(error);
});
