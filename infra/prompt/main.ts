/** `npm run prompt -- add|list|show|remove`: system prompts registered once, shortened by rules, confirmed by a person. */
import { readFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '../../gpu-worker/text/tokenizer.ts';
import { SUBJECT_TOKEN } from '../../shared/subjects.ts';
import { fail, readArgs, run } from '../d1/command.ts';
import { placeOf } from '../d1/database.ts';
import { PromptTable, type PromptRow } from './database.ts';
import { lineDiff } from './diff.ts';
import { canonical, shortenPrompt } from './shorten.ts';

const HELP = `npm run prompt -- <command> [options]

  add <file> --tenant <id>   shows what the rules would shorten, asks, and registers the prompt
  list [--tenant <id>]       registered prompts, with what each saves
  show <prompt id>           one prompt: its text, its short form and the difference
  remove <prompt id>         asks, and removes it

Requests whose system message begins with the text, or that name prompt: {"id": "<prompt id>"}, get the short form
within 10 seconds. A file named - is standard input.

  --name <name>        for people; unique in the tenant    [the file's name]
  --short <file>       your own short form instead of the rules', in canonical blanks
  --model <folder>     whose tokenizer counts              [models/millrace-mini]
  --persist-to <dir>   local state of the edge             [that of the running npm start]
  --remote             the database in the cloud, as wrangler.toml and your Cloudflare login say
  --yes                do not ask
  --help`;

/** SQL commands may have 100 kB, and a byte takes two characters there. */
const MAX_BYTES = 20_000;
const MAX_PER_TENANT = 32;
const MAX_NAME_CHARS = 80;

const { values, positionals } = readArgs(HELP, {
  tenant: { type: 'string' },
  name: { type: 'string' },
  short: { type: 'string' },
  model: { type: 'string', default: fileURLToPath(new URL('../../models/millrace-mini', import.meta.url)) },
  yes: { type: 'boolean', default: false },
});

function table(): PromptTable {
  return new PromptTable(placeOf(values.remote, values['persist-to']));
}

/** A prompt's text without the blanks around it. */
function readPrompt(file: string): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file === '-' ? 0 : file)).trim();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return fail(`${file} cannot be read as UTF-8 text: ${reason.replace(/^ENOENT.*/, 'there is no such file')}`);
  }
  const bytes = Buffer.byteLength(text);
  if (bytes === 0) fail(`${file} is empty.`);
  if (bytes > MAX_BYTES) fail(`${file} has ${bytes} bytes; a registered prompt may have ${MAX_BYTES}.`);
  return text;
}

/** Says what was asked, and no on anything but y or yes. */
async function confirmed(question: string): Promise<boolean> {
  if (values.yes) return true;
  if (!process.stdin.isTTY) fail('Nobody can be asked here: add --yes once a person has read the difference.');
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`${question} [y/N] `);
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

/** `before → after unit (−x %)`. */
function saving(before: number, after: number, unit: string): string {
  const percent = before === 0 ? 0 : ((before - after) / before) * 100;
  return `${before} → ${after} ${unit} (${percent < 0 ? '+' : '−'}${Math.abs(percent).toFixed(1)} %)`;
}

function printDiff({ text, short }: Pick<PromptRow, 'text' | 'short'>): void {
  const colour = process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined;
  const tokenizer = new Tokenizer(values.model);
  const tokens = (each: string) => tokenizer.encodePlain(each).length;
  console.log(lineDiff(text, short, { colour }) || '(nothing to shorten)');
  const bytes = saving(Buffer.byteLength(text), Buffer.byteLength(short), 'bytes');
  console.log(`\n${saving(tokens(text), tokens(short), `tokens of ${basename(values.model)}`)}, ${bytes}`);
}

async function add(file: string | undefined): Promise<void> {
  const { tenant } = values;
  if (file === undefined) fail('add needs a file: npm run prompt -- add system.txt --tenant <id>');
  if (tenant === undefined)
    fail('add needs --tenant <id>: the tenant whose keys send this prompt, as `npm start` prints it.');
  if (!SUBJECT_TOKEN.test(tenant)) fail(`--tenant ${tenant} must have letters, digits, _ and -, at most 64.`);
  const name = values.name ?? (file === '-' ? 'prompt' : basename(file, extname(file)));
  if (name === '' || name.length > MAX_NAME_CHARS) fail(`--name must have 1 to ${MAX_NAME_CHARS} characters.`);
  const text = readPrompt(file);
  const short = values.short === undefined ? shortenPrompt(text) : canonical(readPrompt(values.short));
  const prompts = table();
  const others = await prompts.list(tenant);
  const same = others.find((other) => other.text === text);
  if (same !== undefined)
    fail(`This text is registered already: ${same.id} (${same.name}). Remove it first to change it.`);
  if (others.some((other) => other.name === name)) fail(`${tenant} has a prompt named ${name}; choose another --name.`);
  if (others.length >= MAX_PER_TENANT)
    fail(`${tenant} has ${others.length} prompts already, the most that there may be.`);
  printDiff({ text, short });
  if (!(await confirmed(`\nRegister this short form for ${tenant}?`))) fail('Nothing was registered.');
  const { id } = await prompts.add({ tenant, name, text, short });
  console.log(`\nRegistered ${id} (${name}). Requests may name it: "prompt": {"id": "${id}"}`);
}

async function list(): Promise<void> {
  const rows = await table().list(values.tenant ?? null);
  if (rows.length === 0) console.log('No prompts are registered.');
  for (const { id, tenant, name, text, short, createdAt } of rows) {
    const bytes = saving(Buffer.byteLength(text), Buffer.byteLength(short), 'bytes');
    console.log(`${id}  ${tenant}  ${name}  ${bytes}  ${new Date(createdAt).toISOString()}`);
  }
}

async function found(id: string | undefined, prompts: PromptTable): Promise<PromptRow> {
  if (id === undefined) fail('Which prompt? Its id is in `npm run prompt -- list`.');
  return (
    (await prompts.find(id)) ?? fail(`There is no prompt ${id}; \`npm run prompt -- list\` shows those that there are.`)
  );
}

async function show(id: string | undefined): Promise<void> {
  const row = await found(id, table());
  console.log(
    `${row.id}  ${row.tenant}  ${row.name}\n\n── text\n${row.text}\n\n── short form\n${row.short}\n\n── difference`,
  );
  printDiff(row);
}

async function remove(id: string | undefined): Promise<void> {
  const prompts = table();
  const { id: known, name, tenant } = await found(id, prompts);
  if (!(await confirmed(`Remove ${known} (${name} of ${tenant})? Requests that name it will be refused.`))) {
    fail('Nothing was removed.');
  }
  await prompts.remove(known);
  console.log(`Removed ${known}.`);
}

async function main(): Promise<void> {
  const [command, argument, ...more] = positionals;
  if (values.help || command === undefined) {
    console.log(HELP);
    return;
  }
  if (more.length > 0) fail(`${more.join(' ')}: too many arguments.\n\n${HELP}`);
  if (command === 'add') await add(argument);
  else if (command === 'list') await list();
  else if (command === 'show') await show(argument);
  else if (command === 'remove') await remove(argument);
  else fail(`${command} is not a command.\n\n${HELP}`);
}

await run(main);
