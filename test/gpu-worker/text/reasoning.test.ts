import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ReasoningSplitter, type SplitText } from '../../../gpu-worker/text/reasoning.ts';

function split(pieces: readonly string[], state: 'open' | 'closed'): SplitText {
  const splitter = new ReasoningSplitter(state);
  const parts = [...pieces.map((piece) => splitter.push(piece)), splitter.flush()];
  return {
    content: parts.map(({ content }) => content).join(''),
    reasoning: parts.map(({ reasoning }) => reasoning).join(''),
  };
}

describe('ReasoningSplitter', () => {
  test.each([
    ['closed', '<think>\nWhy?\n\nBecause.\n</think>\n\nSo.', 'Why?\n\nBecause.', 'So.'],
    ['closed', '\n<think>a</think>b', 'a', 'b'],
    ['closed', 'Plain answer with a < b.', '', 'Plain answer with a < b.'],
    ['closed', 'Answer first, then <think>no</think>.', '', 'Answer first, then <think>no</think>.'],
    ['open', 'a < b\n</think>\nyes', 'a < b', 'yes'],
    ['open', 'never ends', 'never ends', ''],
    ['open', '\n\n</think>\n\nno thoughts', '', 'no thoughts'],
    ['closed', '<think>cut off </thi', 'cut off </thi', ''],
  ] as const)('%s: %j', (state, text, reasoning, content) => {
    expect(split([text], state)).toEqual({ reasoning, content });
  });

  test('the cut of the stream changes nothing', () => {
    const part = fc.constantFrom('<think>', '</think>', '\n', 'a', '<', '/think>', '</', 'thought ', 'é');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), fc.constantFrom('open', 'closed'), (parts, state) => {
        const text = parts.join('');
        expect(split([...text], state)).toEqual(split([text], state));
      }),
      { numRuns: 2000 },
    );
  });
});
