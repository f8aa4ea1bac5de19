/** The one random model in the form of every system, made once in the benchmarks' cache. Measures nothing. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { planWeights } from '../../../gpu-worker/model/cpu-decoder.ts';
import { fillAll } from '../../../gpu-worker/model/quantize/fill-all.ts';
import { writeWeightFile } from '../../../gpu-worker/model/quantize/weight-file.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { randomModelFolder } from '../model-folder.ts';
import type { RandomShape } from '../random-model.ts';
import { writeGguf, type GgufVocabulary } from './gguf.ts';
import { writeOnnxFolder } from './onnx-folder.ts';

export interface PeerModels {
  /** A Hugging Face folder. */
  readonly folder: string;
  readonly q4: string;
  readonly q8: string;
  readonly onnx: string;
  readonly vocabSize: number;
}

/** Longest sequence of the ONNX model. */
const POSITIONS = 2048;

export async function peerModels(
  shape: RandomShape,
  { threads, show }: { threads: number; show: (text: string) => void },
): Promise<PeerModels> {
  const folder = await randomModelFolder(shape, show);
  const config = readModelConfig(folder);
  const made = `${folder}-peers`;
  mkdirSync(made, { recursive: true });
  const source = openSafetensors(folder);
  try {
    const vocabulary = vocabularyOf(folder, config.vocabSize);
    for (const format of ['q4_0', 'q8_0'] as const) {
      once(join(made, `${format}.gguf`), (path) => {
        show(`writing ${format}.gguf`);
        writeGguf(path, { config, source, vocabulary }, format);
      });
    }
    once(join(made, 'onnx-q4'), (path) => {
      show('writing the ONNX model');
      const layout = planWeights(config, { bits: 4, blockSize: 32, symmetric: true });
      const writeWeights = (file: string): number => {
        let begin = 0;
        writeWeightFile(file, { layout, key: 'onnx' }, (descriptor, start) => {
          begin = start;
          const target = { type: 'file', descriptor, start } as const;
          fillAll(layout, null, { source, folder, target, threads, onProgress: () => {} });
        });
        return begin;
      };
      writeOnnxFolder(path, { config, layout, writeWeights, files: filesOf(folder) }, POSITIONS);
    });
  } finally {
    source.close();
  }
  const at = (name: string) => join(made, name);
  return { folder, q4: at('q4_0.gguf'), q8: at('q8_0.gguf'), onnx: at('onnx-q4'), vocabSize: config.vocabSize };
}

/** A file or folder bears its name only once it is whole. */
function once(path: string, make: (path: string) => void): void {
  if (existsSync(path)) return;
  const partial = `${path}.partial`;
  rmSync(partial, { recursive: true, force: true });
  make(partial);
  renameSync(partial, path);
}

/** Without an end of sequence: every system is to put out as many tokens as it is asked for. */
function filesOf(folder: string): Readonly<Record<string, string>> {
  const read = (name: string) => readFileSync(join(folder, name), 'utf8');
  const { eos_token_id: _, ...config } = JSON.parse(read('config.json')) as Record<string, unknown>;
  return {
    'config.json': JSON.stringify(config),
    'generation_config.json': '{}',
    'tokenizer.json': read('tokenizer.json'),
    'tokenizer_config.json': read('tokenizer_config.json'),
  };
}

interface TokenizerFile {
  readonly model: { readonly vocab: Readonly<Record<string, number>> };
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
}

function vocabularyOf(folder: string, vocabSize: number): GgufVocabulary {
  const file = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')) as TokenizerFile;
  const tokens = Array.from({ length: vocabSize }, (_, id) => `<unused ${id}>`);
  for (const [token, id] of Object.entries(file.model.vocab)) tokens[id] = token;
  for (const { id, content } of file.added_tokens) tokens[id] = content;
  const control = new Set(file.added_tokens.map(({ id }) => id));
  const [eosId = 0] = file.added_tokens.filter(({ content }) => content === '<|im_end|>').map(({ id }) => id);
  return { tokens, control, eosId };
}
