/** `millrace perplexity`: a model judged by a file of texts. Prints one line of JSON; progress goes to standard error. */
import { statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { disableOrtTelemetry, engineConfig, readPerplexityFlags } from '../config.ts';
import { evaluateOnGpu } from '../evaluate/evaluate-gpu.ts';
import { evaluate, TEXT_TOKENS, type Evaluation } from '../evaluate/evaluate.ts';
import type { PruneProgress } from '../evaluate/prune.ts';
import { perplexityOf } from '../evaluate/scorer.ts';
import { chooseDevice } from '../model/choose-device.ts';
import { modelFolder, modelPlace } from '../model/hub.ts';
import type { CalibrationProgress } from '../model/kv-ranges.ts';
import { schemeName, schemeOf } from '../model/quantize/scheme.ts';
import { PERPLEXITY_HELP } from './flags.ts';
import { ConfigError, helpRows } from './settings.ts';

const ABOUT = `Prints how well a model foretells texts: exp of the mean loss over the tokens that it would say. Run it with and
without --quantization, --prune-layers, --dtype or --kv-cache-dtype to see what they cost on texts of yours.
A text of more than ${TEXT_TOKENS} tokens (or than the model takes) is judged in pieces of so many.

  millrace perplexity --input texts.jsonl --quantization int4 --quantization-block-size 128`;

/** Resolves with the exit code. */
export async function perplexity(args: readonly string[]): Promise<number> {
  const settings = readPerplexityFlags(args);
  if (settings === null) {
    console.log(`millrace perplexity --input <file> [flags]\n\n${ABOUT}\n\n${helpRows(PERPLEXITY_HELP)}\n  --help`);
    return 0;
  }
  const input = settings.text('input');
  if (input === '') throw new ConfigError('there is nothing to foretell: give --input (--help lists the flags)');
  const isThere = statSync(input, { throwIfNoEntry: false })?.isDirectory() === false;
  if (!isThere) throw settings.unusable('input', 'a file of texts');
  const { model, revision, hub, ...config } = engineConfig(settings, null);
  if (modelPlace(model) === null) throw settings.unusable('model', 'a Hugging Face folder, or owner/name on the hub');
  const show = progressLines(settings.boolean('progress'), basename(resolve(model)));
  const onNotice = (message: string) => process.emitWarning(message);
  const onProgress = ({ doneBytes, totalBytes }: Bytes) => show('downloading', doneBytes, totalBytes);
  const folder = await modelFolder({ id: model, revision }, { settings: hub, onProgress, onNotice });
  disableOrtTelemetry();
  const device = chooseDevice(config.device ?? 'auto');
  const judged = {
    ...{ ...config, folder },
    onLoading: ({ doneBytes, totalBytes }: Bytes) => show('reading weights', doneBytes, totalBytes),
    onPruning: ({ done, total }: PruneProgress) => show('pruning', done, total),
    onCalibration: ({ done, total }: CalibrationProgress) => show('calibrating the KV cache', done, total),
  };
  const onText = (done: number, total: number) => show('texts', done, total);
  const { score, kept, layers, ...formats } =
    device === 'cuda'
      ? { dtype: config.dtype, ...evaluateOnGpu(judged, input, onText) }
      : formatsOnCpu(evaluate(judged, input, onText));
  if (score.tokens === 0) throw new ConfigError(`--input is "${input}": it has no token to foretell`);
  const weights = schemeName(schemeOf(config));
  const figures = { perplexity: Number(perplexityOf(score).toFixed(5)), tokens: score.tokens };
  const pruned = { layers, kept: kept.length === layers ? null : kept };
  console.log(JSON.stringify({ model, device, weights, ...formats, ...pruned, ...figures }));
  return 0;
}

/** Of weights a GPU's format is the one asked for, here it is found out. */
function formatsOnCpu({ bitsPerWeight, kvType: kv, ...rest }: Evaluation) {
  return { ...rest, bitsPerWeight: Number(bitsPerWeight.toFixed(3)), kv };
}

interface Bytes {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** A line for every tenth of the way: the work leaves no time between for a timer. */
function progressLines(enabled: boolean, name: string): (work: string, done: number, total: number) => void {
  let last = '';
  return (work, done, total) => {
    const line = `${name}: ${work} ${Math.floor((10 * done) / Math.max(1, total)) * 10} %`;
    if (enabled && line !== last) process.stderr.write(`${line}\n`);
    last = line;
  };
}
