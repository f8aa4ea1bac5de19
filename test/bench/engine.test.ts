import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { EVEN_STEPS } from '../support/even-steps.ts';

const run = promisify(execFile);
const MEASURES = ['host', 'whole-path', 'ngram-embedded', 'bare-loop', 'naive', 'arrival', 'step-cost'];
const number = expect.any(Number);

interface JsonFigure {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly must: { readonly atLeast?: number; readonly atMost?: number } | null;
  readonly met: boolean | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly profiles: Readonly<Record<string, { readonly steps: number; readonly wallMs: number }>>;
}

test('a quick run, whole: every measure gives its figures and no token is wrong', async () => {
  const { stdout, stderr } = await run(process.execPath, ['test/bench/engine.ts', '--quick']);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^name +figure +must +met\?$/);
  expect(lines.filter((line) => line.startsWith('{'))).toEqual(lines.slice(-1));
  expect(stderr).toMatch(/bare-loop \(4 of 10\): engine, round 1 of 1; about \d+ (s|min) left/);

  const json = JSON.parse(lines.at(-1) ?? '');
  expect(json).toMatchObject({
    bench: 'engine',
    date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    machine: { cpu: expect.any(String), cores: number, node: process.version },
    parameters: { only: [...MEASURES, 'ngram-repetitive', 'ngram-plain', 'prefix'], rounds: 1, quick: true },
    failures: [],
  });
  const figures: readonly JsonFigure[] = json.figures;
  expect(figures.map(({ name }) => name)).toEqual([
    ...['slots', 'blocks'].flatMap((kind) =>
      ['', ', p99', ', clone outputs', ', read clone'].map((of) => `host ${kind} 8${of}`),
    ),
    ...['whole path of engine', 'n-gram, embedded, batch 1', 'n-gram, embedded, batch 2'],
    ...[
      'engine of bare loop',
      '8 at once / one by one',
      'ITL p99 at an arrival, drafts off',
      'ITL p99 at an arrival, drafts auto',
      'TTFT of an arrival, drafts auto ÷ off',
      'step-cost error',
    ],
    ...['edit', 'extract'].flatMap((kind) => [1, 2].map((batch) => `n-gram on ${kind}, batch ${batch}`)),
    ...[1, 2].flatMap((batch) => [`n-gram on words, batch ${batch}`, `n-gram, free, batch ${batch}`]),
    'prefix cache, off / on',
  ]);
  for (const { name, unit, median, must, met, profiles } of figures) {
    expect(['×', 'ms', '%'], name).toContain(unit);
    expect(median, name).toBeGreaterThan(0);
    if (must === null) expect(met, name).toBe(null);
    else expect(met, name).toBe(must.atLeast === undefined ? median <= (must.atMost ?? NaN) : median >= must.atLeast);
    for (const profile of Object.values(profiles)) expect(profile).toMatchObject({ steps: number, wallMs: number });
  }
}, 300_000);

test('a repetitive text is drafted, one without repeats is not, and both are written to the end', async () => {
  const args = ['test/bench/engine.ts', '--quick', '--rounds', '3', '--only', 'ngram-repetitive,ngram-plain'];
  // Whether drafts pay is up to the times of steps, which on a busy machine are a matter of chance.
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...EVEN_STEPS } });
  const { figures } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as { figures: readonly JsonFigure[] };
  const of = (name: string) => figures.find((figure) => figure.name === `${name}, batch 2`)?.details;
  expect(of('n-gram on edit')).toMatchObject({ forced: true, differentTexts: 2, draftedTokens: number });
  const repetitive = figures.filter(({ name }) => /on (edit|extract)|free/.test(name));
  for (const { name, details } of repetitive) expect(Number(details['acceptedTokens']), name).toBeGreaterThan(0);
  expect(of('n-gram on words')).toMatchObject({ forced: true, draftedTokens: 0, acceptedTokens: 0 });
  expect(of('n-gram, free')).toMatchObject({ forced: false });
}, 120_000);

test.each([
  [['--only', 'host,other'], '--only names "other": there are host, whole-path'],
  [['--rounds', '0'], '--rounds is "0": it must be an integer from 1 to 1000'],
  [['--requests', '65'], '--requests is "65": it must be an integer from 2 to 64'],
])('%j ends with code 1, the name and nothing on stdout', async (args, message) => {
  const failed = run(process.execPath, ['test/bench/engine.ts', ...args]);
  await expect(failed).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(message) });
});
