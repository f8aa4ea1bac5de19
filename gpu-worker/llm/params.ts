/** A caller's generation parameters → SamplingParams, by the ranges of shared/sampling.ts. Knows no model. */
import * as v from 'valibot';
import { MillraceError } from '../../shared/errors.ts';
import { submitSchema } from '../../shared/protocol.ts';
import { DEFAULT_SAMPLING, samplingParamsSchema, type SamplingParams } from '../../shared/sampling.ts';
import type { Speculation } from '../engine/messages.ts';

type Plain = Omit<SamplingParams, 'stop' | 'logitBias'>;

/** vLLM's SamplingParams in camel case. Left out = the model's own default (generation_config.json), or off. */
export type GenerationParams = { readonly [K in keyof Plain]?: Plain[K] | undefined } & {
  readonly stop?: string | readonly string[] | undefined;
  /** Token id → what is added to its logit. */
  readonly logitBias?: Readonly<Record<number, number>> | undefined;
  /** off, auto (as many drafts as pay) or n-gram (prompt lookup in every step). */
  readonly speculation?: Speculation | undefined;
};

export interface ReadParams {
  readonly sampling: SamplingParams;
  readonly speculation: Speculation;
}

/** Why a value cannot be used, for whoever knows how its user spells names. */
export interface FieldIssue {
  /** Camel case: `stop[1]`. */
  readonly field: string;
  /** Goes on after the name: `must be at most 2`. */
  readonly problem: string;
}

const schema = v.strictObject({ ...samplingParamsSchema.entries, speculation: submitSchema.entries.speculation });
const TOKEN_ID = /^(0|[1-9]\d{0,9})$/;

/** Null and undefined count as absent. */
export function readParams(value: unknown): ReadParams | FieldIssue {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { field: '', problem: 'must be an object' };
  const given: Record<string, unknown> = {};
  for (const [name, each] of Object.entries(value)) {
    if (!Object.hasOwn(schema.entries, name))
      return { field: name, problem: 'is not a generation parameter; remove it' };
    if (each !== null && each !== undefined) given[name] = each;
  }
  if (typeof given['stop'] === 'string') given['stop'] = [given['stop']];
  // -1 is vLLM's word for off.
  if (given['topK'] === -1) given['topK'] = 0;
  if ('logitBias' in given) {
    const biases = biasPairs(given['logitBias']);
    if (biases === null) return { field: 'logitBias', problem: 'must map token ids to numbers' };
    given['logitBias'] = biases;
  }
  const parsed = v.safeParse(schema, { ...DEFAULT_SAMPLING, ...given }, { abortEarly: true });
  if (!parsed.success) return withoutPairs(toFieldIssue(parsed.issues[0]));
  const { speculation, ...sampling } = parsed.output;
  const { minTokens, maxTokens } = sampling;
  if (maxTokens === null || minTokens <= maxTokens) return { sampling, speculation };
  return { field: 'minTokens', problem: `is ${minTokens}, above the limit of ${maxTokens} output tokens` };
}

export function isIssue(read: object): read is FieldIssue {
  return 'problem' in read;
}

function biasPairs(value: unknown): readonly (readonly [number, unknown])[] | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const pairs = Object.entries(value);
  return pairs.every(([id]) => TOKEN_ID.test(id)) ? pairs.map(([id, bias]) => [Number(id), bias]) : null;
}

/** Callers know nothing of the pairs that biases travel as. */
function withoutPairs({ field, problem }: FieldIssue): FieldIssue {
  return { field: field.replace(/^(logitBias).*/, '$1'), problem };
}

type Issue = v.BaseIssue<unknown>;

/** The first issue of a schema, in words. */
export function toFieldIssue(issue: Issue): FieldIssue {
  const keys = issue.path?.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)) ?? [];
  return { field: keys.join('').replace(/^\./, ''), problem: problemOf(issue) };
}

const BOUNDS: Readonly<Record<string, (bound: string) => string>> = {
  min_value: (bound) => `must be at least ${bound}`,
  max_value: (bound) => `must be at most ${bound}`,
  min_length: (bound) => `must have a length of at least ${bound}`,
  max_length: (bound) => `must have a length of at most ${bound}`,
};

function problemOf({ type, expected, received, requirement }: Issue & { readonly requirement?: unknown }): string {
  const bound = BOUNDS[type];
  if (bound !== undefined) return bound(String(requirement));
  if (type === 'integer' || type === 'safe_integer') return 'must be an integer';
  if (received === 'undefined') return 'is missing';
  const wanted =
    expected === null
      ? 'something else'
      : expected
          .replaceAll('"', '')
          .replace(/^\((.*)\)$/, '$1')
          .replaceAll(' | ', ' or ');
  return `must be ${WORDS[wanted] ?? wanted}, not ${received.slice(0, 80)}`;
}

const WORDS: Readonly<Record<string, string>> = {
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  Array: 'a list',
  Object: 'an object',
};

/** `at`: what the issue's field belongs to, as in `params[3]`; may be empty. */
export function fieldError({ field, problem }: FieldIssue, at: string): MillraceError {
  const param = at === '' || field === '' || field.startsWith('[') ? at + field : `${at}.${field}`;
  return new MillraceError('invalid_value', `\`${param}\` ${problem}.`, { param });
}
