import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { echoHash, isDone, mendOutput, readEarlier } from '../../../gpu-worker/cli/earlier-results.ts';
import { OutputLines } from '../../../gpu-worker/cli/output-lines.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-earlier-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileOf(content: string): string {
  const file = join(folder, `file-${files++}.jsonl`);
  writeFileSync(file, content);
  return file;
}

const resume = (output: string) => readEarlier({ input: { prompts: ['a'] }, output, existing: 'resume' });
const NOT_OURS =
  /is not a result of millrace generate, so --resume cannot continue it: take that line out, or give another --output/;

describe('resuming', () => {
  const lines = '{"index":0,"prompt":"a","outputs":[]}\n{"index":2,"id":"x","error":{"code":"invalid_value"}}\n';

  test('whole lines count, a last one that was cut off at any place does not', async () => {
    const third = '{"index":1,"prompt":"b","outputs":[]}';
    for (let cut = 0; cut <= third.length; cut++) {
      const file = fileOf(lines + third.slice(0, cut));
      const earlier = await resume(file);
      expect([...earlier.hashes]).toEqual([
        [0, echoHash({ prompt: 'a' })],
        [2, echoHash({ id: 'x' })],
      ]);
      await mendOutput(file, earlier);
      expect(readFileSync(file, 'utf8')).toBe(lines);
    }
  });

  test('a line cut off that is longer than what is read at once', async () => {
    const file = fileOf(`${lines}{"index":1,"prompt":"${'b'.repeat(200_000)}`);
    await mendOutput(file, await resume(file));
    expect(readFileSync(file, 'utf8')).toBe(lines);
  });

  test('a file of something else is refused by line and stays as it is', async () => {
    const foreign = [
      'line one\nmy precious last line',
      '"only prompt"',
      'only prompt',
      `${lines}my note`,
      `${lines}\n`,
      '{"index":0,"text":"a row of a data set"}\n',
      '{"index":-1,"outputs":[]}\n',
    ];
    for (const content of foreign) {
      const file = fileOf(content);
      await expect(resume(file)).rejects.toThrow(NOT_OURS);
      expect(readFileSync(file, 'utf8')).toBe(content);
    }
    await expect(resume(fileOf(`${lines}my note`))).rejects.toThrow(/:3 is not/);
  });

  test('requests that failed by no fault of theirs are not done: their lines go, in one step, all others stay', async () => {
    const failed = (index: number, code: string) => `{"index":${index},"line":9,"error":{"code":"${code}"}}\n`;
    const again = ['model_error', 'server_error', 'worker_lost', 'deadline_exceeded'].map((code, i) =>
      failed(10 + i, code),
    );
    const stays = failed(20, 'context_length_exceeded') + failed(21, 'a_code_of_the_future');
    const file = fileOf(`${again[0]}${lines}${again[1]}${stays}${again.slice(2).join('')}{"index":1,"pro`);
    const link = join(folder, 'link.jsonl');
    symlinkSync(file, link);
    chmodSync(file, 0o600);
    const earlier = await resume(link);
    expect([...earlier.failed]).toEqual([10, 11, 12, 13]);
    expect([0, 2, 10, 13, 20, 21, 1].map((index) => isDone(earlier, index))).toEqual([
      ...[true, true, false, false, true, true],
      false,
    ]);
    await mendOutput(link, earlier);
    expect(readFileSync(file, 'utf8')).toBe(lines + stays);
    expect([lstatSync(link).isSymbolicLink(), statSync(file).mode & 0o777]).toEqual([true, 0o600]);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect((await resume(link)).failed.size).toBe(0);
  });

  test('reading changes nothing, and a file that has changed since is left alone', async () => {
    const file = fileOf(`${lines}{"index":1`);
    const earlier = await resume(file);
    expect(readFileSync(file, 'utf8')).toBe(`${lines}{"index":1`);
    writeFileSync(file, `${lines}{"index":1,"outputs":[]}\n`);
    await expect(OutputLines.open({ output: file, existing: 'resume' }, earlier)).rejects.toThrow(
      /it has changed since it was read/,
    );
    expect(readFileSync(file, 'utf8')).toBe(`${lines}{"index":1,"outputs":[]}\n`);
  });
});

test('the input is never the output, by whatever name', async () => {
  const file = fileOf('"a prompt"\n');
  const [hard, soft] = [join(folder, 'hard.jsonl'), join(folder, 'soft.jsonl')];
  linkSync(file, hard);
  symlinkSync(file, soft);
  for (const output of [file, hard, soft]) {
    for (const existing of ['refuse', 'overwrite', 'resume'] as const) {
      await expect(readEarlier({ input: { file }, output, existing })).rejects.toThrow(
        /--output is ".*": it is the input; give another file/,
      );
    }
  }
  expect(await readEarlier({ input: { file }, output: fileOf(''), existing: 'overwrite' })).toMatchObject({ size: 0 });
});

test('a folder is refused whatever is to be done with it; what is no file cannot be gone on with', async () => {
  for (const existing of ['refuse', 'overwrite', 'resume'] as const) {
    await expect(readEarlier({ input: { prompts: ['a'] }, output: folder, existing })).rejects.toThrow(
      /it is a folder/,
    );
  }
  await expect(resume('/dev/null')).rejects.toThrow(/it must be a file to --resume/);
});
