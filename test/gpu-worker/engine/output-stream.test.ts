import { expect, test } from 'vitest';
import { engineRequest, EngineWorld } from '../../support/engine-world.ts';
import { hashContinuation, HashRunner } from '../../support/hash-runner.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

test.each([1, 2] as const)(
  'a stop text counts after the first min_tokens tokens: with drafts, for every choice, where it goes on; plans in flight: %i',
  (depth) => {
    // A loop of 16 tokens; a byte above 127 alone is no text.
    const promptIds = hashContinuation([0], 600, 1).slice(-48);
    const output = hashContinuation(promptIds, 48, 1);
    const at = output.findIndex((id, i) => id < 128 && (output[i + 1] ?? 255) < 128);
    const text = (from: number, to: number) => new TextDecoder().decode(Uint8Array.from(output.slice(from, to)));
    const run = (minTokens: number, stop: string, generated = 0, n = 1) => {
      const world = new EngineWorld(new HashRunner({ depth, slots: 4, context: 1 }));
      const params = { maxTokens: 48, minTokens, stop: [stop] };
      const generatedIds = output.slice(0, generated);
      world.engine.add(engineRequest('a', { promptIds, generatedIds, n, speculation: 'n-gram', params }));
      world.runDry();
      return range(n).map((choice) => world.of('a', choice));
    };
    const two = text(at, at + 2);
    for (const [minTokens, end] of [
      [0, at + 2],
      [at, at + 2],
      // One of its tokens is among the first, so the next round of the loop brings it.
      [at + 1, at + 18],
      [at + 2, at + 18],
      [at + 18, at + 34],
    ] as const) {
      for (const { ids, text: shown, deltas } of run(minTokens, two, 0, 2)) {
        expect(ids).toEqual(output.slice(0, end));
        expect(shown).toBe(text(0, end - 2));
        expect(deltas.at(-1)?.finish).toBe('stop');
      }
      if (minTokens > at) expect(run(minTokens, two, at + 1)[0]?.ids).toEqual(output.slice(at + 1, end));
    }
    expect(run(48, two)[0]).toMatchObject({ ids: output, text: text(0, 48) });
  },
);
