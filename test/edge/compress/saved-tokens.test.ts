/** The estimate of saved tokens beside a real tokenizer, on prompts that it was not measured on. */
import { describe, expect, test } from 'vitest';
import { compressMessages, type CompressionOptions } from '../../../edge/compress/compress.ts';
import { Tokenizer } from '../../../gpu-worker/text/tokenizer.ts';
import { KINDS, makePrompt } from '../../bench/compress/prompts.ts';

const tokenizer = new Tokenizer('models/millrace-mini');
const count = (text: string) => tokenizer.encodePlain(text).length;
const MODES: readonly CompressionOptions[] = [
  { mode: 'lossless', rate: 1 },
  { mode: 'lossy', rate: 0.5 },
];

describe.each(MODES)('$mode', (options) => {
  test.each(KINDS)('%s: within a tenth where more than 2 % is saved', (kind) => {
    let [tokens, saved, estimated] = [0, 0, 0];
    for (let seed = 0; seed < 15; seed++) {
      const { messages } = makePrompt(kind, seed);
      const compression = compressMessages(messages, options);
      for (const [i, { content }] of messages.entries()) {
        const sent = compression.messages[i]?.content ?? '';
        tokens += count(content);
        if (sent !== content) saved += count(content) - count(sent);
      }
      estimated += compression.savedTokensEstimate;
    }
    const bound = Math.max(0.1 * saved, 0.002 * tokens);
    expect(Math.abs(estimated - saved)).toBeLessThan(bound);
  });
});
