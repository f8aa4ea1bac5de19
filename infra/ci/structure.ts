/** Checks every file of the tree against the rules of its shape, and prints the distribution of sizes. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { brokenRules, countLines } from './rules.ts';

const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
  encoding: 'utf8',
});
const files = listed
  .split('\n')
  .filter((file) => file !== '' && existsSync(file))
  .map((file) => ({ file, text: readFileSync(file, 'utf8') }));

const sizes = files
  .filter(({ file }) => !file.startsWith('test/'))
  .map(({ file, text }) => ({ file, lines: countLines(text) }))
  .toSorted((a, b) => a.lines - b.lines);
const at = (fraction: number) => sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * fraction))];
console.log(
  `${sizes.length} source files: median ${at(0.5)?.lines} lines, p90 ${at(0.9)?.lines}, max ${at(1)?.lines} (${at(1)?.file})`,
);

const problems = files.flatMap(({ file, text }) => brokenRules(file, text));
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
