/** What commands on the edge's database share: their arguments, and how they end. Knows no command. */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';

/** Where the database is, and --help. */
const COMMON = {
  'persist-to': { type: 'string' },
  remote: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

/** Of the command line: COMMON's flags and those of `options`. Another one ends the process with `help`. */
export function readArgs<const T extends ParseArgsOptionsConfig>(help: string, options: T) {
  try {
    return parseArgs({ allowPositionals: true, options: { ...COMMON, ...options } });
  } catch (error) {
    return fail(`${reasonOf(error)}\n\n${help}`);
  }
}

export function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** What it throws is said in its message alone. */
export async function run(main: () => Promise<void>): Promise<void> {
  await main().catch((error: unknown) => fail(reasonOf(error)));
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
