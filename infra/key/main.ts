/** `npm run key -- add|list|disable`: the API keys that open the edge. */
import { DEFAULT_RATE } from '../../edge/compression.ts';
import { mintKey } from '../../edge/key.ts';
import { fail, readArgs, run } from '../d1/command.ts';
import { placeOf, type Place } from '../d1/database.ts';
import { edgeOf } from './edge.ts';
import { grantOf } from './grant.ts';
import { KeyTable, type KeyRow } from './table.ts';

const HELP = `npm run key -- <command> [options]

  add --tenant <name>        makes a key and shows it, this once
  list [--tenant <name>]     keys by their public ids
  disable <public id>        the edge refuses the key within 30 seconds

add makes a hash with KEY_PEPPER of the environment: the same as the Worker's secret of that name. A running npm start
has its own.

  --models a,b               only these models             [all]
  --compression <mode>       off, lossless or lossy, of requests that ask for none    [lossless]
  --rate <0.2 to 1>          of lossy compression          [${DEFAULT_RATE}]
  --expires <when>           days from now, a date (its begin in UTC) or a time: 90, 2030-12-31, 2030-12-31T18:00Z    [never]
  --persist-to <dir>         local state of the edge       [that of the running npm start]
  --remote                   the database in the cloud, as wrangler.toml and your Cloudflare login say
  --help`;

const PUBLIC_ID = /^[a-z0-9]{12}$/;
/** Flags that each command takes besides those that say where. */
const FLAGS = {
  add: ['tenant', 'models', 'compression', 'rate', 'expires'],
  list: ['tenant'],
  disable: [],
} as const satisfies Readonly<Record<string, readonly (keyof Values)[]>>;
type Command = keyof typeof FLAGS;

type Values = typeof values;
const { values, positionals } = readArgs(HELP, {
  tenant: { type: 'string' },
  models: { type: 'string' },
  compression: { type: 'string' },
  rate: { type: 'string' },
  expires: { type: 'string' },
});

function place(): Place {
  return placeOf(values.remote, values['persist-to']);
}

async function add(): Promise<void> {
  const grant = grantOf(values, Date.now());
  const where = place();
  const { pepper, url } = edgeOf(where, process.env);
  const { key, publicId, secretHash } = await mintKey(pepper);
  const row = await new KeyTable(where).add(publicId, secretHash, grant);
  console.log(`${tableOf([row])}

  ${key}

This key is shown only now: the database has a hash of it. Try it:
  curl ${url}/v1/models -H 'authorization: Bearer ${key}'`);
}

async function list(): Promise<void> {
  const rows = await new KeyTable(place()).list(values.tenant ?? null);
  console.log(rows.length === 0 ? 'There are no keys.' : tableOf(rows));
}

async function disable(publicId: string | undefined): Promise<void> {
  if (publicId === undefined) fail('Which key? Its public id is in `npm run key -- list`.');
  // It may be a whole key, which is not to be shown again.
  if (!PUBLIC_ID.test(publicId)) {
    fail('A public id has 12 lower-case letters and digits: in mr_<public id>_<secret>, and in `npm run key -- list`.');
  }
  const keys = new KeyTable(place());
  const row = await keys.find(publicId);
  if (row === null) fail(`There is no key ${publicId}; \`npm run key -- list\` shows those that there are.`);
  if (row.disabled !== 0) fail(`${publicId} (of ${row.tenant}) is disabled already.`);
  await keys.disable(publicId);
  console.log(
    `Disabled ${publicId} (of ${row.tenant}). The edge forgets it within 30 seconds; requests that run by then end as usual.`,
  );
}

function tableOf(rows: readonly KeyRow[]): string {
  const head = ['public id', 'tenant', 'models', 'compression', 'created', 'expires', 'disabled'];
  const lines = [head, ...rows.map(cellsOf)];
  const widths = head.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0)));
  return lines
    .map((cells) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cellsOf({ publicId, tenant, models, compression, rate, createdAt, expiresAt, disabled }: KeyRow): string[] {
  const expires = expiresAt === null ? 'never' : timeOf(expiresAt);
  return [
    publicId,
    tenant,
    models === null ? 'all' : models.replaceAll(/[[\]"]/g, ''),
    compression === 'lossy' ? `lossy ${rate ?? DEFAULT_RATE}` : (compression ?? 'lossless'),
    timeOf(createdAt),
    expiresAt !== null && expiresAt <= Date.now() ? `${expires} (over)` : expires,
    disabled === 0 ? 'no' : 'yes',
  ];
}

function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Throws where the command line has what the command does not take. */
function checkArgs(command: Command, extra: readonly string[]): void {
  if (extra.length > 0) fail(`${extra.join(' ')}: too many arguments for ${command}.\n\n${HELP}`);
  const taken: readonly string[] = [...FLAGS[command], 'persist-to', 'remote', 'help'];
  const other = Object.keys(values).find((name) => !taken.includes(name));
  if (other !== undefined) fail(`--${other} says nothing to ${command}: leave it out.\n\n${HELP}`);
}

async function main(): Promise<void> {
  const [command, ...rest] = positionals;
  if (values.help || command === undefined) {
    console.log(HELP);
    return;
  }
  if (!isCommand(command)) fail(`${command} is not a command.\n\n${HELP}`);
  checkArgs(command, rest.slice(command === 'disable' ? 1 : 0));
  if (command === 'add') await add();
  else if (command === 'list') await list();
  else await disable(rest[0]);
}

function isCommand(text: string): text is Command {
  return Object.hasOwn(FLAGS, text);
}

await run(main);
