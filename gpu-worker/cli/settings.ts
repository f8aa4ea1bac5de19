/** Arguments, variables and defaults → single values, each checked and named when it cannot be used. Knows no flag. */
import { parseArgs } from 'node:util';
import type { Flag, FlagTable } from './flags.ts';

/** A flag, variable or option that cannot be used; the message names it and says what it must be. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Given<TName extends string> {
  readonly table: FlagTable<TName>;
  /** Values by flag name, in their order. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly env: Environment;
  /** How its user writes a flag. */
  readonly label: (name: TName) => string;
}

export class Settings<TName extends string> {
  readonly #given: Given<TName>;

  constructor(given: Given<TName>) {
    this.#given = given;
  }

  /** Several are joined by commas. */
  text(name: TName): string {
    const { table, values, env } = this.#given;
    const flag = table[name];
    return values.get(name)?.join(',') ?? (flag.env === null ? undefined : env[flag.env]) ?? flag.fallback;
  }

  /** What the flag was given as; empty when it was not. */
  list(name: TName): readonly string[] {
    return this.#given.values.get(name) ?? [];
  }

  integer(name: TName, min: number, max: number): number {
    const value = toNumber(this.text(name));
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.unusable(name, `an integer from ${min} to ${max}`);
  }

  /** Above 0 and at most 1. */
  fraction(name: TName): number {
    const share = toNumber(this.text(name));
    if (share > 0 && share <= 1) return share;
    throw this.unusable(name, 'above 0 and at most 1');
  }

  oneOf<const T extends string>(name: TName, values: readonly T[]): T {
    const value = values.find((each) => each === this.text(name));
    if (value !== undefined) return value;
    throw this.unusable(name, values.join(' or '));
  }

  boolean(name: TName): boolean {
    return this.oneOf(name, ['true', 'false']) === 'true';
  }

  label(name: TName): string {
    return this.#given.label(name);
  }

  unusable(name: TName, wanted: string): ConfigError {
    return new ConfigError(`${this.label(name)} is "${this.text(name)}": it must be ${wanted}`);
  }
}

/** An empty text is no number. */
export function toNumber(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** Null: help was asked for. */
export function readFlags<TName extends string>(
  table: FlagTable<TName>,
  args: readonly string[],
  env: Environment,
): Settings<TName> | null {
  const option = { type: 'string', multiple: true } as const;
  const options = Object.fromEntries(Object.keys(table).map((name) => [name, option]));
  const help = { type: 'boolean', short: 'h' } as const;
  const parsed = parse(() => parseArgs({ args: spelledOut(table, args), options: { ...options, help } }).values);
  if (parsed['help'] === true) return null;
  const values = new Map<string, readonly string[]>();
  for (const [name, given] of Object.entries(parsed)) {
    if (!Array.isArray(given)) continue;
    if (given.length > 1 && flagOf(table, name)?.kind !== 'list') {
      throw new ConfigError(`--${name} is given ${given.length} times`);
    }
    values.set(name, given.map(String));
  }
  const label = (name: TName): string => {
    const variable = table[name].env;
    return variable === null ? `--${name}` : `--${name} (${variable})`;
  };
  return new Settings({ table, values, env, label });
}

function parse<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`${message} (--help lists the flags)`);
  }
}

/** What parseArgs would take for a flag gets its `=`: bare switches, their --no- form, and numbers below zero. */
function spelledOut(table: FlagTable, args: readonly string[]): readonly string[] {
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const [arg = '', next = ''] = args.slice(i, i + 2);
    const name = arg.startsWith('--') ? arg.slice(2) : '';
    const flag = flagOf(table, name);
    const joins = flag?.kind === 'switch' ? next === 'true' || next === 'false' : /^-\.?\d/.test(next);
    if (flag !== undefined && joins) out.push(`${arg}=${args[++i]}`);
    else if (flag?.kind === 'switch') out.push(`${arg}=true`);
    else if (name.startsWith('no-') && flagOf(table, name.slice(3))?.kind === 'switch') {
      out.push(`--${name.slice(3)}=false`);
    } else out.push(arg);
  }
  return out;
}

function flagOf(table: FlagTable, name: string): Flag | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** The rows of a help text. */
export function helpRows(table: FlagTable): string {
  const rows = Object.entries(table).map(([name, { env, help, fallback, shown = fallback, kind }]) => {
    const tail = shown === '' || (kind === 'switch' && shown === 'false') ? '' : ` [${shown}]`;
    const left = `--${kind === 'switch' && fallback === 'true' ? `[no-]${name}` : name}`;
    return `  ${left.padEnd(28)} ${help}${tail}${env === null ? '' : `  (${env})`}`;
  });
  return rows.join('\n');
}
