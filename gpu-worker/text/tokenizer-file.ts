/** A model folder's tokenizer.json, checked. Knows no text. */
import * as v from 'valibot';
import { checkJson, dictionary } from '../model/checked-json.ts';
import { readTokenizerJson } from '../model/folder.ts';

const FILE = 'tokenizer.json';
const isId = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const id = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const schema = v.looseObject({
  model: v.looseObject({
    vocab: dictionary(
      isId,
      'must be an object from tokens to ids, integers from 0 on: other vocabularies are not read',
    ),
  }),
  added_tokens: v.nullish(v.array(v.looseObject({ id, content: v.string(), special: v.optional(v.boolean()) })), []),
  decoder: v.nullish(
    v.looseObject({ type: v.string(), decoders: v.optional(v.array(v.looseObject({ type: v.string() }))) }),
  ),
});
export type TokenizerFile = v.InferOutput<typeof schema>;

export function readTokenizerFile(folder: string): TokenizerFile {
  return checkJson(FILE, schema, readTokenizerJson(folder));
}
