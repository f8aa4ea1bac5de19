/** `npm run bench:compress`: tokens saved, what is kept and time, on generated prompts. Arguments, order and report only. */
import { parseArgs } from 'node:util';
import { Tokenizer } from '../../gpu-worker/text/tokenizer.ts';
import { effectOn, paceOf, type Effect, type Pace, type Setting } from './compress/measure.ts';
import { KINDS, makePrompt, type Kind, type Prompt } from './compress/prompts.ts';
import { Progress } from './progress.ts';
import { thisMachine } from './report.ts';
import { formatTable, type Column } from './table.ts';

const HELP = `npm run bench:compress [-- options]
  --prompts <n>   generated prompts, as many of each kind [200]
  --seed <n>      of the generator [1]
  --model <path>  folder whose tokenizer counts tokens [models/millrace-mini]
  --runs <n>      timed runs of 100 kB for each kind and setting [300]
  --json-only     no table and no progress
  --help`;

const SETTINGS: readonly Setting[] = [
  { name: 'lossless', options: { mode: 'lossless', rate: 1 } },
  { name: 'lossy 0.7', options: { mode: 'lossy', rate: 0.7 } },
  { name: 'lossy 0.5', options: { mode: 'lossy', rate: 0.5 } },
];
const TIMED_BYTES = 100_000;

interface Row extends Effect, Pace {
  readonly kind: Kind | 'all';
  readonly setting: string;
}

const right = (title: string): Column => ({ title, align: 'right' });
const COLUMNS: readonly Column[] = [
  ...[{ title: 'kind', align: 'left' } as const, { title: 'setting', align: 'left' } as const],
  ...[right('tokens'), right('saved'), right('estimate'), right('protected'), right('answers')],
  ...[right('100 kB p50 ms'), right('p99 ms')],
];

function main(): void {
  const text = (value: string) => ({ type: 'string', default: value }) as const;
  const flag = { type: 'boolean', default: false } as const;
  const names = { prompts: text('200'), seed: text('1'), runs: text('300'), model: text('models/millrace-mini') };
  const { values } = parseArgs({ options: { ...names, 'json-only': flag, help: flag } });
  if (values.help) return console.log(HELP);
  const [count, seed, runs] = [values.prompts, values.seed, values.runs].map(Number) as [number, number, number];
  if (![count, seed, runs].every((each) => Number.isInteger(each) && each >= 1)) throw new Error(HELP);
  const progress = new Progress({ quiet: values['json-only'] });
  const tokenizer = new Tokenizer(values.model);
  const countTokens = cached((each) => tokenizer.encodePlain(each).length);
  const prompts = KINDS.flatMap((kind) =>
    Array.from({ length: Math.ceil(count / KINDS.length) }, (_, i) => makePrompt(kind, seed * 1000 + i)),
  );
  const rows: Row[] = [];
  for (const kind of [...KINDS, 'all'] as const) {
    const chosen = prompts.filter((prompt) => kind === 'all' || prompt.kind === kind);
    for (const setting of SETTINGS) {
      progress.show(`${kind}, ${setting.name}`);
      rows.push(rowOf(kind, setting, { chosen, runs, countTokens }));
    }
  }
  progress.clear();
  if (!values['json-only']) console.log(`${formatTable(COLUMNS, rows.map(cells))}\n\n${LEGEND}`);
  const parameters = { prompts: prompts.length, seed, runs, model: values.model, timedBytes: TIMED_BYTES };
  console.log(
    JSON.stringify({ bench: 'compress', date: new Date().toISOString(), machine: thisMachine(), parameters, rows }),
  );
}

const LEGEND = `saved: tokens of contents, by the model's tokenizer; estimate: the edge's own, by kinds of text.
protected: spans verbatim and in order, references read back; answers: their sentences still in the messages.
Prompts are generated: shares of blanks, repeats and facts are ours, so figures of other traffic differ.`;

/** Contents come again in every setting. */
function cached(count: (text: string) => number): (text: string) => number {
  const counts = new Map<string, number>();
  return (text) => {
    const known = counts.get(text) ?? count(text);
    counts.set(text, known);
    return known;
  };
}

interface Sample {
  readonly chosen: readonly Prompt[];
  readonly runs: number;
  readonly countTokens: (text: string) => number;
}

function rowOf(kind: Row['kind'], setting: Setting, { chosen, runs, countTokens }: Sample): Row {
  const effect = effectOn(chosen, setting, countTokens);
  return { kind, setting: setting.name, ...effect, ...paceOf(chosen, setting, { bytes: TIMED_BYTES, runs }) };
}

function cells(row: Row): readonly string[] {
  const share = (part: number, whole: number) => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`);
  return [
    ...[row.kind, row.setting, String(row.tokens), share(row.savedTokens, row.tokens)],
    ...[share(row.estimatedTokens, row.tokens), share(row.keptSpans, row.spans), share(row.keptFacts, row.facts)],
    ...[row.p50Ms.toFixed(2), row.p99Ms.toFixed(2)],
  ];
}

main();
