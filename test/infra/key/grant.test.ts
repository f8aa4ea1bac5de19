import { describe, expect, test } from 'vitest';
import { grantOf, type GrantFlags } from '../../../infra/key/grant.ts';

const NOW = Date.parse('2030-01-01T12:00:00Z');
const grant = (flags: GrantFlags) => grantOf({ tenant: 'acme', ...flags }, NOW);

test('a tenant alone gets what keys get by default', () => {
  expect(grant({})).toEqual({ tenant: 'acme', models: null, compression: null, rate: null, expiresAt: null });
});

test('models, each once, without the blanks around them', () => {
  expect(grant({ models: 'mini, meta/llama,mini' }).models).toEqual(['mini', 'meta/llama']);
});

test('compression and its rate', () => {
  expect(grant({ compression: 'off' })).toMatchObject({ compression: 'off', rate: null });
  expect(grant({ compression: 'lossy' })).toMatchObject({ compression: 'lossy', rate: null });
  expect(grant({ compression: 'lossy', rate: '.5' })).toMatchObject({ compression: 'lossy', rate: 0.5 });
});

test.each([
  ['90', '2030-04-01T12:00:00.000Z'],
  ['2030-01-02', '2030-01-02T00:00:00.000Z'],
  ['2030-01-01T12:01Z', '2030-01-01T12:01:00.000Z'],
  ['2032-02-29T23:59:59Z', '2032-02-29T23:59:59.000Z'],
])('expires %s', (expires, time) => {
  expect(new Date(grant({ expires }).expiresAt ?? 0).toISOString()).toBe(time);
});

describe('refused with the flag and the fix', () => {
  test('no tenant', () => {
    expect(() => grantOf({}, NOW)).toThrow('add needs --tenant <name>');
  });

  test.each([
    ...['', 'a.b', 'a b', 'ä', '*', 'a'.repeat(65), 'a\n'].map(
      (tenant) => [{ tenant }, 'must have letters, digits, _ and -, 1 to 64'] as const,
    ),
    ...['', ',', 'a,', 'a,,b', ' '].map((models) => [{ models }, 'has an empty name: join names with commas'] as const),
    [{ models: 'm'.repeat(257) }, 'must have at most 256 characters'],
    ...['', 'Lossy', 'on'].map((compression) => [{ compression }, 'must be off, lossless or lossy'] as const),
    ...[undefined, 'off', 'lossless'].map(
      (compression) => [{ compression, rate: '0.5' }, '--rate applies to lossy compression'] as const,
    ),
    ...['', '0.1', '1.1', 'half', '0x1', '.', '1e-1', '50%'].map(
      (rate) => [{ compression: 'lossy', rate }, 'must be a number from 0.2 to 1'] as const,
    ),
    ...['2029-12-31', '2030-01-01', '2030-01-01T12:00Z'].map((expires) => [{ expires }, 'is over already'] as const),
    ...['', '0', '-1', '1.5', '36501', 'tomorrow', '31.12.2030', '2031-02-29', '2031-01-01T25:00Z'].map(
      (expires) => [{ expires }, 'must be a number of days from 1 to 36500, a date'] as const,
    ),
  ] as readonly (readonly [GrantFlags, string])[])('%j', (flags, message) => {
    expect(() => grant(flags)).toThrow(message);
    expect(() => grant(flags)).toThrow(`--${Object.keys(flags).at(-1)} `);
  });
});
