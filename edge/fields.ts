/** Building blocks of body schemas: a refusal says what a field must be. Knows no field. */
import * as v from 'valibot';

export const text = v.string('must be a string');
export const flag = v.boolean('must be true or false');

export const within = (min: number, max: number, kind: 'a number' | 'an integer') => {
  const message = `must be ${kind} from ${min} to ${max}`;
  const isKind = kind === 'a number' ? Number.isFinite : Number.isInteger;
  return v.pipe(
    v.number(message),
    v.check((value) => value >= min && value <= max && isKind(value), message),
  );
};

/** null counts as absent, as in OpenAI's API. */
export const optional = <T extends v.GenericSchema>(schema: T) => v.nullish(schema);

export const tokenId = within(0, 2 ** 31 - 1, 'an integer');
