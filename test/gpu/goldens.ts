/** Models with what transformers gives for them in float32: logits of prefill and decode steps, and greedy continuations. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readModelConfig } from '../../gpu-worker/model/config.ts';

const folderOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export interface LogitsCase {
  readonly promptLength: number;
  readonly ids: readonly number[];
  /** After the prompt, and after each further id: [rows][V]. */
  readonly logits: readonly ArrayLike<number>[];
}

export interface TokensCase {
  readonly prompt: readonly number[];
  readonly expected: readonly number[];
}

export interface GoldenModel {
  readonly name: string;
  readonly folder: string;
  readonly logits: readonly LogitsCase[];
  readonly tokens: readonly TokensCase[];
}

/** Those that have a golden file, tiny ones first and the embedded model last. */
export function goldenModels(): readonly GoldenModel[] {
  const tiny = ['tiny-llama', 'tiny-llama-untied', 'tiny-qwen2'].map((name) =>
    continued(name, `test/fixtures/${name}`),
  );
  const families = readdirSync(folderOf('test/fixtures/families')).map((name) => familyModel(name));
  return [...tiny, ...families, continued('millrace-mini', 'models/millrace-mini')];
}

interface ContinuedFile {
  readonly cases: readonly TokensCase[];
  readonly logits: readonly { readonly prompt: readonly number[]; readonly logits: readonly number[] }[];
}

function continued(name: string, path: string): GoldenModel {
  const file = JSON.parse(readFileSync(folderOf(`test/fixtures/${name}.golden.json`), 'utf8')) as ContinuedFile;
  const logits = file.logits.map((each) => {
    return { promptLength: each.prompt.length, ids: each.prompt, logits: [each.logits] };
  });
  return { name, folder: folderOf(path), logits, tokens: file.cases };
}

interface FamilyCase {
  readonly promptLength: number;
  readonly ids: readonly number[];
  /** float32, base64. */
  readonly logits: string;
}

function familyModel(name: string): GoldenModel {
  const folder = folderOf(`test/fixtures/families/${name}`);
  const { vocabSize } = readModelConfig(folder);
  const path = join(folder, 'golden.json');
  const stored = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as readonly FamilyCase[]) : [];
  const logits = stored.map(({ promptLength, ids, logits: text }) => {
    const all = new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);
    const rows = ids.length - promptLength + 1;
    return {
      promptLength,
      ids,
      logits: Array.from({ length: rows }, (_, row) => all.subarray(row * vocabSize, (row + 1) * vocabSize)),
    };
  });
  return { name, folder, logits, tokens: [] };
}
