import { expect, test } from 'vitest';
import { GraphMemory, mayCapture } from '../../../../gpu-worker/model/cuda/graph-memory.ts';

test.each([
  ['the first graph, whatever it takes', { bytes: 0, largest: 0 }, 100, true],
  ['none where nothing is set aside', { bytes: 0, largest: 0 }, 0, false],
  ['one more like the largest fits exactly', { bytes: 70, largest: 30 }, 100, true],
  ['one like the largest would not fit, though a smaller one might', { bytes: 71, largest: 30 }, 100, false],
  ['what was set aside is overdrawn', { bytes: 130, largest: 130 }, 100, false],
])('%s', (_, use, reserved, may) => {
  expect(mayCapture(use, reserved)).toBe(may);
});

test('each graph is measured once; when the reserve is used up those that are there go on, new ones are refused', () => {
  let free = 1000;
  const memory = new GraphMemory(100, () => free);
  const capture = (key: string, bytes: number) => memory.run(key, () => (free -= bytes));
  capture('a', 40);
  capture('b', 20);
  expect(memory.use).toEqual({ bytes: 60, largest: 40, graphs: 2 });
  // A replay takes nothing, whatever others do meanwhile.
  capture('a', 500);
  expect(memory.use.bytes).toBe(60);
  expect(memory.has('c')).toBe(true);
  capture('c', 1);
  expect(memory.use.bytes).toBe(61);
  expect([memory.has('d'), memory.has('a')]).toEqual([false, true]);
});

test('memory that others free meanwhile is no gain; a capture that fails is none', () => {
  let free = 1000;
  const memory = new GraphMemory(100, () => free);
  memory.run('a', () => (free += 300));
  expect(memory.use).toEqual({ bytes: 0, largest: 0, graphs: 1 });
  const fail = () => {
    free -= 99;
    throw new Error('capture failed');
  };
  expect(() => memory.run('b', fail)).toThrow('capture failed');
  expect(memory.use).toEqual({ bytes: 0, largest: 0, graphs: 1 });
});
