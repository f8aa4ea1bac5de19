import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync, appendFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { LLM } from '../../../gpu-worker/llm.ts';
import { slowSteps } from '../../support/slow-steps.ts';
import { until } from '../../support/stack.ts';

const BIN = fileURLToPath(new URL('../../../gpu-worker/cli/millrace.mjs', import.meta.url));
const model = fileURLToPath(new URL('../../fixtures/tiny-llama', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'millrace-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** As a user runs it: without the variable that the runtime wants. */
function millrace(...args: readonly string[]): Promise<Ended> {
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env;
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BIN, ...args], { cwd: folder, env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

const generate = (...args: readonly string[]) => millrace('generate', '--model', model, '--threads', '1', ...args);

interface OutputLine {
  readonly index: number;
  readonly id?: string;
  readonly line?: number;
  readonly outputs?: readonly { readonly text: string; readonly finish_reason: string }[];
  readonly usage?: { readonly completion_tokens: number };
  readonly error?: { readonly message: string; readonly code: string; readonly param: string | null };
}

const parse = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as OutputLine);
const linesOf = (file: string) => parse(readFileSync(file, 'utf8'));
const byIndex = (lines: readonly OutputLine[]) => lines.toSorted((a, b) => a.index - b.index);

let files = 0;
function fileOf(lines: readonly unknown[]): string {
  const file = join(folder, `in-${files++}.jsonl`);
  writeFileSync(file, lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''));
  return file;
}
const outFile = () => join(folder, `out-${files++}.jsonl`);

// Each runs the command several times.
describe('help', { timeout: 120_000 }, () => {
  test('of the command, of each subcommand, and the version', async () => {
    const all = await Promise.all([
      millrace('--help'),
      millrace('generate', '--help'),
      millrace('serve', '--help'),
      millrace('--version'),
      millrace('frobnicate'),
      millrace(),
    ]);
    expect(all.map(({ code }) => code)).toEqual([0, 0, 0, 0, 2, 2]);
    const [help, ofGenerate, ofServe, version, unknown] = all;
    expect(help?.stdout).toMatch(/serve +serve a model.*\n +generate/);
    expect(ofGenerate?.stdout).toContain(
      '--prompt "Explain transformers" --repeat 1000 --temperature 0.7 --max-tokens 128',
    );
    expect(ofServe?.stdout).toMatch(/millrace serve[^]*--nats-url/);
    expect(version?.stdout).toMatch(/^millrace \d+\.\d+\.\d+\n$/);
    expect(unknown?.stderr).toMatch(/There is no command "frobnicate"/);
  });
});

describe('generate', { timeout: 120_000 }, () => {
  test('all kinds of lines, with parameters and ids of their own: the library’s texts, then a summary', async () => {
    const messages = [{ role: 'user', content: 'hi' }];
    const input = fileOf([
      '"abc"',
      '',
      { prompt: [5, 6, 7], custom_id: 'second', max_tokens: 3 },
      { messages, id: 'third', temperature: 0.9, seed: 2, top_k: null },
    ]);
    const output = outFile();
    const flags = ['--temperature', '0', '--max-tokens', '8', '--ignore-eos'];
    const { code, stdout, stderr } = await generate('--input', input, '--output', output, ...flags);
    expect([code, stdout]).toEqual([0, '']);
    const lines = byIndex(linesOf(output));
    expect(lines).toMatchObject([
      { index: 0, prompt: 'abc', outputs: [{ index: 0, finish_reason: 'length' }], usage: { completion_tokens: 8 } },
      { index: 1, custom_id: 'second', prompt: [5, 6, 7], usage: { prompt_tokens: 3, completion_tokens: 3 } },
      { index: 2, id: 'third', messages, usage: { completion_tokens: 8 }, timings: { queue_ms: expect.any(Number) } },
    ]);
    await using llm = await LLM.load({ model, threads: 1 });
    const [first, second, third] = [
      { temperature: 0, maxTokens: 8 },
      { temperature: 0, maxTokens: 3 },
      { temperature: 0.9, seed: 2, maxTokens: 8 },
    ];
    const prompts = ['abc', [5, 6, 7], [{ role: 'user' as const, content: 'hi' }]];
    for await (const { index, outputs } of llm.generate(
      prompts,
      [first, second, third].map((params) => ({ ...params, ignoreEos: true })),
    )) {
      expect(lines[index]?.outputs?.[0]?.text).toBe(outputs[0]?.text);
    }
    expect(stderr).toMatch(/Loading tiny-llama[^]*3\/3 .*output tokens\/s/);
    expect(stderr).toMatch(
      /requests +3 in .*\n +output tokens +19 [^]*TTFT median +[\d.]+ ms\n +ITL median +[\d.]+ ms/,
    );
  });

  test('--prompt, --repeat, --ordered, to standard output', async () => {
    const { code, stdout, stderr } = await generate(
      ...['--prompt', 'a', '--prompt', 'b', '--chat', '--repeat', '20', '--ordered', '--no-progress'],
      ...['--max-tokens', '4', '--ignore-eos', '--n', '2'],
    );
    expect(code).toBe(0);
    const lines = parse(stdout);
    expect(lines.map(({ index }) => index)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(lines[19]).toMatchObject({
      prompt: 'a',
      outputs: [{ index: 0 }, { index: 1 }],
      usage: { completion_tokens: 8 },
    });
    expect(lines[20]).toMatchObject({ prompt: 'b' });
    expect(stderr).not.toContain('tokens/s  ');
    expect(stderr).toMatch(/requests +40 in/);
  });

  const badLines = [
    '"good"',
    '{"prompt": "cut',
    { prompt: 'x', temperature: 5 },
    { messages: [{ role: 'tool', content: 'x' }], id: 'm' },
    { prompt: 'x', max_tokens: 300 },
    { text: 'x' },
    '[1]',
    { prompt: 'x', messages: [{ role: 'user', content: 'x' }] },
  ];

  test('bad lines stop the command before anything runs, each with its number', async () => {
    const output = outFile();
    const input = fileOf(badLines);
    const { code, stderr } = await generate('--input', input, '--output', output, '--repeat', '3');
    expect(code).toBe(2);
    expect(existsSync(output)).toBe(false);
    expect(stderr.split('\n')).toEqual([
      `${input}:2: The line is not valid JSON.`,
      `${input}:3: \`temperature\` must be at most 2.`,
      `${input}:4: \`messages[0].role\` must be system or user or assistant, not "tool".`,
      `${input}:6: The line must have one of \`prompt\` and \`messages\`.`,
      `${input}:7: The line must be a JSON string or an object with \`prompt\` or \`messages\`.`,
      `${input}:8: The line must have one of \`prompt\` and \`messages\`.`,
      'Nothing was run; --skip-bad-lines runs the others.',
      '',
    ]);
  });

  test('so does a prompt that the model cannot take', async () => {
    const input = fileOf(['"good"', { prompt: 'x', max_tokens: 300 }]);
    const output = outFile();
    const { code, stderr } = await generate('--input', input, '--output', output);
    expect([code, existsSync(output)]).toEqual([2, false]);
    expect(stderr).toMatch(/:2: This model's maximum context length is 256 tokens.*300 in `max_tokens`/);
  });

  test('where there are no others, none are offered', async () => {
    const one = ['--prompt', 'x', '--no-progress'];
    for (const [args, problem] of [
      [['--prompt', ''], /^--prompt:1: /],
      [[...one, '--max-tokens', '300'], /^--prompt:1: This model's maximum context length is 256 tokens/],
    ] as const) {
      const { code, stderr } = await generate(...args);
      expect(code).toBe(2);
      expect(stderr).toMatch(problem);
      expect(stderr).toMatch(/\nNothing was run\.\n$/);
    }
  });

  test('--skip-bad-lines: they come back as errors, the others run', async () => {
    const output = outFile();
    const { code, stderr } = await generate(
      '--input',
      fileOf(badLines),
      '--output',
      output,
      '--skip-bad-lines',
      '--max-tokens',
      '3',
      '--ordered',
    );
    expect(code).toBe(0);
    const lines = linesOf(output);
    expect(lines.map(({ index, line, error }) => [index, line, error?.code, error?.param ?? null])).toEqual([
      [0, undefined, undefined, null],
      [1, 2, 'invalid_json', null],
      [2, 3, 'invalid_value', 'temperature'],
      [3, 4, 'invalid_value', 'messages[0].role'],
      [4, 5, 'context_length_exceeded', 'prompt'],
      [5, 6, 'invalid_value', 'prompt'],
      [6, 7, 'invalid_value', null],
      [7, 8, 'invalid_value', 'prompt'],
    ]);
    expect(lines[3]?.id).toBe('m');
    expect(lines[7]?.error?.message).toBe('The line must have one of `prompt` and `messages`.');
    expect(stderr).toMatch(/requests +1 in .*, 7 failed/);
  });

  test('fields that are null count as left out', async () => {
    const nulls = { id: null, custom_id: null, messages: null, chat_template_kwargs: null, temperature: null };
    const [input, output] = [fileOf([{ prompt: 'a', ...nulls }]), outFile()];
    const args = ['--input', input, '--output', output, '--max-tokens', '2'];
    expect((await generate(...args)).code).toBe(0);
    expect(linesOf(output)).toMatchObject([{ prompt: 'a', outputs: [{ index: 0 }] }]);
    expect((await generate(...args, '--resume')).stderr).toMatch(/^Resuming: 1 of 1 are done/);
  });

  test('an output file is refused, replaced, or gone on with', async () => {
    const input = fileOf(['"a"', '"b"', '"c"', '"d"']);
    const output = outFile();
    const args = ['--input', input, '--output', output, '--temperature', '0', '--max-tokens', '3', '--ordered'];
    expect((await generate(...args)).code).toBe(0);
    const whole = linesOf(output);
    const refused = await generate(...args);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/exists already; give --overwrite or --resume/),
    ]);
    expect((await generate(...args, '--overwrite')).code).toBe(0);
    expect(linesOf(output)).toHaveLength(4);

    // Two lines and a half, as a crash leaves them.
    const text = readFileSync(output, 'utf8').split('\n');
    writeFileSync(output, `${text[0]}\n${text[2]}\n${text[1]?.slice(0, 20)}`);
    const resumed = await generate(...args, '--resume');
    expect([resumed.code, resumed.stderr]).toEqual([
      0,
      expect.stringMatching(/^Resuming: 2 of 4 are done[^]*requests +2 in/),
    ]);
    const lines = linesOf(output);
    expect(lines.map(({ index }) => index)).toEqual([0, 2, 1, 3]);
    expect(byIndex(lines).map(({ outputs }) => outputs)).toEqual(whole.map(({ outputs }) => outputs));

    // What the model failed at runs again, what was refused does not.
    const errorOf = (index: number, code: string) =>
      JSON.stringify({ index, prompt: 'abcd'[index], line: index + 1, error: { message: 'x', code } });
    writeFileSync(output, [text[0], errorOf(1, 'model_error'), errorOf(2, 'invalid_value'), text[3], ''].join('\n'));
    const again = await generate(...args, '--resume');
    expect([again.code, again.stderr]).toEqual([
      0,
      expect.stringMatching(
        /^Resuming: 3 of 4 are done; failed by no fault of theirs, so run again: 1\n[^]*requests +1 in/,
      ),
    ]);
    expect(linesOf(output).map(({ index, error }) => [index, error?.code])).toEqual([
      [0, undefined],
      [2, 'invalid_value'],
      [3, undefined],
      [1, undefined],
    ]);

    writeFileSync(input, '"a"\n"else"\n"c"\n"d"\n');
    const other = await generate(...args, '--resume');
    expect([other.code, other.stderr]).toEqual([
      2,
      expect.stringMatching(/request 1 of the output file is not request 1 of the input/),
    ]);
    appendFileSync(output, '{"a":1}\n');
    expect((await generate(...args, '--resume')).stderr).toMatch(/:5 is not a result of millrace generate/);
  });

  test('nothing to do: says so at once, without loading a model', async () => {
    const [input, output] = [fileOf([]), outFile()];
    const { code, stderr } = await generate('--input', input, '--output', output);
    expect([code, stderr]).toEqual([0, 'Nothing to do: no request is without a result.\n']);
    expect(readFileSync(output, 'utf8')).toBe('');
  });

  test('Ctrl-C ends it with what is done; --resume runs the rest', async () => {
    const output = outFile();
    const args = [
      'generate',
      '--model',
      model,
      '--threads',
      '1',
      '--prompt',
      'abc',
      '--repeat',
      '600',
      '--output',
      output,
    ];
    const rest = ['--max-tokens', '40', '--ignore-eos', '--no-progress'];
    // 19 times 40 steps: far from done when the first results are there.
    const env = { ...process.env, ...slowSteps(20) };
    const child = spawn(process.execPath, [BIN, ...args, ...rest], { stdio: ['ignore', 'ignore', 'pipe'], env });
    let stderr = '';
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    await until(() => existsSync(output) && readFileSync(output, 'utf8').includes('\n'), 60_000);
    child.kill('SIGINT');
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    const done = linesOf(output).length;
    expect(done).toBeGreaterThan(0);
    expect(done).toBeLessThan(600);
    expect(stderr).toMatch(
      new RegExp(`Interrupted: what has ended is written; --resume runs the rest\n +requests +${done} in`),
    );
    const resumed = await millrace(...args, ...rest, '--resume');
    expect(resumed.code).toBe(0);
    expect(byIndex(linesOf(output)).map(({ index }) => index)).toEqual(Array.from({ length: 600 }, (_, i) => i));
  });

  test('what cannot start says so in a line', async () => {
    const notes = fileOf(['line one', 'a last line that is nobody’s but its author’s']);
    const kept = readFileSync(notes, 'utf8').trimEnd();
    writeFileSync(notes, kept);
    const all = await Promise.all([
      millrace('generate', '--prompt', 'a', '--model', folder),
      generate('--input', join(folder, 'absent.jsonl')),
      generate('--input', folder),
      generate('--prompt', 'a', '--output', join(folder, 'no-folder', 'out.jsonl')),
      generate('--prompt', 'a', '--output', notes, '--resume'),
      generate('--input', notes, '--output', notes, '--overwrite'),
    ]);
    expect(all.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(readFileSync(notes, 'utf8')).toBe(kept);
    expect(all.map(({ stderr }) => stderr.trim().split('\n').at(-1))).toEqual([
      expect.stringMatching(/^--model \(MILLRACE_MODEL\) is ".*": there is no config.json in that folder/),
      expect.stringMatching(/there is no such file/),
      expect.stringMatching(/it must be a file/),
      expect.stringMatching(/--output is .*there is no such folder/),
      expect.stringMatching(/:1 is not a result of millrace generate/),
      expect.stringMatching(/it is the input; give another file/),
    ]);
  });

  test('flags are named in what the engine says of its sizes', async () => {
    const once = ['--prompt', 'a', '--max-tokens', '1', '--no-progress'];
    const [few, long] = await Promise.all([
      generate(...once, '--kv-cache-tokens', '5'),
      generate(...once, '--max-model-len', '100000'),
    ]);
    expect([few?.code, long?.code]).toEqual([1, 0]);
    expect(few?.stderr).toMatch(/^--kv-cache-tokens \(kvCacheTokens\) is 5: .*at least 256.*or lower --max-model-len/);
    expect(long?.stderr).toMatch(/--max-model-len \(maxModelLen\) is 100000: it is lowered to 256/);
  });

  test('a reader that leaves ends it', async () => {
    // More results than a pipe and its reader take in, however late the reader comes.
    const flags = `--model '${model}' --threads 1 --prompt abc --repeat 2000 --max-tokens 20 --ignore-eos --no-progress`;
    const line = `'${process.execPath}' '${BIN}' generate ${flags} | head -n 1`;
    const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((resolve) => {
      execFile('sh', ['-c', line], (_error, out, err) => resolve({ stdout: out, stderr: err }));
    });
    expect(parse(stdout)).toHaveLength(1);
    expect(stderr).toBe('Standard output took no more results: write EPIPE\n');
  });
});
