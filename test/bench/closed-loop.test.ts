import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { closedLoop, type BenchRequest, type Target } from './closed-loop.ts';

const requests = (count: number): readonly BenchRequest[] =>
  Array.from({ length: count }, (_, seed) => ({ prompt: { content: '', ids: new Int32Array() }, maxTokens: 2, seed }));
const trace = { sentMs: 0, arrivalsMs: [1], endMs: 1, tokens: 2 };

test('every request is sent once, never more at a time than asked, and never fewer while some wait', async () => {
  const seeds: number[] = [];
  const running: number[] = [];
  let now = 0;
  const target: Target = async ({ seed }) => {
    seeds.push(seed);
    running.push(++now);
    await sleep(seed % 3);
    now--;
    return trace;
  };
  expect(await closedLoop(target, requests(20), 4)).toHaveLength(20);
  expect(seeds).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(Math.max(...running)).toBe(4);
  expect(Math.min(...running.slice(4))).toBe(4);
});

test('a stream that fails or is too short leaves no figures', async () => {
  const failing: Target = ({ seed }) => (seed === 1 ? Promise.reject(new Error('gone')) : Promise.resolve(trace));
  await expect(closedLoop(failing, requests(3), 2)).rejects.toThrow('gone');
  const short: Target = () => Promise.resolve({ ...trace, tokens: 1 });
  await expect(closedLoop(short, requests(1), 1)).rejects.toThrow('1 tokens instead of 2');
});
