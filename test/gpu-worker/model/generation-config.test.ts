import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PLAIN_DEFAULTS, readGenerationDefaults } from '../../../gpu-worker/model/generation-config.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-generation-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function defaultsOf(config: object) {
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(config));
  return readGenerationDefaults(folder);
}

const GOOD = { temperature: 0.6, top_p: 0.95, top_k: 20, min_p: 0.1, repetition_penalty: 1.1 };
const READ = { temperature: 0.6, topP: 0.95, topK: 20, minP: 0.1, repetitionPenalty: 1.1 };

test('what the makers recommend; what they leave out is plain', () => {
  expect(defaultsOf(GOOD)).toEqual(READ);
  expect(defaultsOf({ top_k: 20 })).toEqual({ ...PLAIN_DEFAULTS, topK: 20 });
  rmSync(join(folder, 'generation_config.json'));
  expect(readGenerationDefaults(folder)).toEqual(PLAIN_DEFAULTS);
});

test.each([
  [{ temperature: 2.5 }, { temperature: 1 }],
  [{ top_p: -0.1 }, { topP: 1 }],
  [{ top_k: 1.5 }, { topK: 0 }],
  [{ top_k: -1 }, { topK: 0 }],
  [{ min_p: '0.1' }, { minP: 0 }],
  [{ repetition_penalty: 0 }, { repetitionPenalty: 1 }],
  [
    { repetition_penalty: null, temperature: [] },
    { repetitionPenalty: 1, temperature: 1 },
  ],
])('%j counts as absent and takes no other value with it', (odd, plain) => {
  expect(defaultsOf({ ...GOOD, ...odd })).toEqual({ ...READ, ...plain });
});
