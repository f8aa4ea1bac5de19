/** `npm run bench:quantization`: what rounding and pruning cost in perplexity and give in size and speed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { evaluate, layersToKeep, type Evaluation } from '../../gpu-worker/evaluate/evaluate.ts';
import { perplexityOf } from '../../gpu-worker/evaluate/scorer.ts';
import { Progress } from './progress.ts';
import { HELP, readOptions, type QuantizationBenchOptions, type Variant } from './quantization/options.ts';
import { speedOf, type Speed } from './quantization/speed.ts';
import { left, right, thisMachine } from './report.ts';
import { formatTable } from './table.ts';

interface Measured {
  readonly variant: Variant;
  readonly evaluation: Evaluation;
  readonly speed: Speed;
}

const COLUMNS = [
  ...[left('weights'), right('layers'), right('bits/weight'), right('MB'), right('perplexity'), right('× first')],
  ...[right('prefill 256 tokens/s'), right('decode 1'), right('decode 16')],
];

function measure({ model: folder, input, threads, variants }: QuantizationBenchOptions): readonly Measured[] {
  const progress = new Progress({ quiet: false });
  // A cache of its own: prunings of a variant are looked for once, and nothing is left behind.
  const quantizationCache = mkdtempSync(join(tmpdir(), 'millrace-quantization-'));
  try {
    return variants.map((variant, i) => {
      const show = (text: string) => progress.show(`${variant.name} (${i + 1} of ${variants.length}): ${text}`);
      const onPruning = ({ done, total }: { done: number; total: number }) => show(`pruning ${done} of ${total}`);
      const options = { ...variant, folder, threads, quantizationCache, pruneCalibration: null, onPruning };
      const evaluation = evaluate(options, input, (done, total) => {
        const percent = Math.floor((20 * done) / total) * 5;
        show(`text ${percent} %`);
      });
      show('speed');
      const speed = speedOf({ ...variant, folder, threads, quantizationCache, keepLayers: layersToKeep(options) });
      return { variant, evaluation, speed };
    });
  } finally {
    progress.clear();
    rmSync(quantizationCache, { recursive: true });
  }
}

function report(measured: readonly Measured[], options: QuantizationBenchOptions, date: Date): void {
  const [first] = measured;
  if (first === undefined) return;
  const whole = perplexityOf(first.evaluation.score);
  const rows = measured.map(({ variant, evaluation, speed }) => {
    const { kept, layers, bitsPerWeight, bytes, score } = evaluation;
    const perplexity = perplexityOf(score);
    return [
      ...[variant.name, kept.length === layers ? String(layers) : `${kept.length} of ${layers}`],
      ...[bitsPerWeight.toFixed(2), (bytes / 1e6).toFixed(1), perplexity.toFixed(4), (perplexity / whole).toFixed(4)],
      ...[speed.prefill, speed.decode1, speed.decode16].map((tokensPerSecond) => tokensPerSecond.toFixed(0)),
    ];
  });
  console.log(`${formatTable(COLUMNS, rows)}\n`);
  console.log(`Over ${first.evaluation.score.tokens} tokens. MB: of all layers' weights.\n`);
  const figures = measured.map(({ variant, evaluation: { score, ...evaluation }, speed }) => {
    return { ...variant, ...evaluation, ...score, perplexity: perplexityOf(score), ...speed };
  });
  const parameters = { model: basename(options.model), input: basename(options.input), threads: options.threads };
  console.log(JSON.stringify({ bench: 'quantization', date, machine: thisMachine(), parameters, figures }));
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === null) console.log(HELP);
  else report(measure(options), options, new Date());
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
