/** Flags of `add` → what the new key grants. Every refusal names the flag and the fix. Pure. */
import { MIN_RATE, type CompressionOptions } from '../../edge/compress/compress.ts';
import { SUBJECT_TOKEN } from '../../shared/subjects.ts';
import type { Grant } from './table.ts';

export interface GrantFlags {
  readonly tenant?: string | undefined;
  readonly models?: string | undefined;
  readonly compression?: string | undefined;
  readonly rate?: string | undefined;
  readonly expires?: string | undefined;
}

const MODES: readonly CompressionOptions['mode'][] = ['off', 'lossless', 'lossy'];
/** As in requests. */
const MAX_MODEL_CHARS = 256;
const DAY_MS = 86_400_000;
const MAX_DAYS = 36_500;
const DATE = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2})?Z)?$/;

export function grantOf(flags: GrantFlags, nowMs: number): Grant {
  const compression = modeOf(flags.compression);
  return {
    tenant: tenantOf(flags.tenant),
    models: modelsOf(flags.models),
    compression,
    rate: rateOf(flags.rate, compression),
    expiresAt: expiryOf(flags.expires, nowMs),
  };
}

function tenantOf(tenant: string | undefined): string {
  if (tenant === undefined) throw new Error('add needs --tenant <name>: whose requests the key will open, e.g. acme.');
  if (SUBJECT_TOKEN.test(tenant)) return tenant;
  throw new Error(`--tenant ${JSON.stringify(tenant)} must have letters, digits, _ and -, 1 to 64 of them.`);
}

function modelsOf(text: string | undefined): readonly string[] | null {
  if (text === undefined) return null;
  const models = text.split(',').map((name) => name.trim());
  if (models.includes('')) {
    throw new Error(
      `--models ${JSON.stringify(text)} has an empty name: join names with commas, or leave it out for all.`,
    );
  }
  const long = models.find((name) => name.length > MAX_MODEL_CHARS);
  if (long === undefined) return [...new Set(models)];
  throw new Error(
    `--models ${JSON.stringify(`${long.slice(0, 40)}…`)} must have at most ${MAX_MODEL_CHARS} characters.`,
  );
}

function modeOf(text: string | undefined): CompressionOptions['mode'] | null {
  if (text === undefined) return null;
  const mode = MODES.find((each) => each === text);
  if (mode !== undefined) return mode;
  throw new Error(`--compression ${JSON.stringify(text)} must be off, lossless or lossy.`);
}

function rateOf(text: string | undefined, mode: CompressionOptions['mode'] | null): number | null {
  if (text === undefined) return null;
  if (mode !== 'lossy')
    throw new Error('--rate applies to lossy compression: add --compression lossy, or leave it out.');
  const rate = /^[\d.]+$/.test(text) ? Number(text) : Number.NaN;
  if (rate >= MIN_RATE && rate <= 1) return rate;
  throw new Error(`--rate ${JSON.stringify(text)} must be a number from ${MIN_RATE} to 1.`);
}

function expiryOf(text: string | undefined, nowMs: number): number | null {
  if (text === undefined) return null;
  const form = `a number of days from 1 to ${MAX_DAYS}, a date as 2030-12-31, or a time as 2030-12-31T18:00Z`;
  if (/^\d+$/.test(text)) {
    const days = Number(text);
    if (days >= 1 && days <= MAX_DAYS) return nowMs + days * DAY_MS;
  } else if (isDate(text)) {
    if (Date.parse(text) > nowMs) return Date.parse(text);
    throw new Error(`--expires ${text} is over already: give a later one, or leave it out for a key that stays.`);
  }
  throw new Error(`--expires ${JSON.stringify(text)} must be ${form}.`);
}

/** Date.parse takes the 30th of February for a day in March. */
function isDate(text: string): boolean {
  const ms = DATE.test(text) ? Date.parse(text) : Number.NaN;
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text.replace('Z', ''));
}
