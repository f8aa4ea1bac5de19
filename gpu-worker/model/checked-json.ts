/** A model folder's JSON against what we expect of it; errors name the file and the field. Knows no files. */
import * as v from 'valibot';
import { ModelFolderError } from './folder.ts';

/** Throws `ModelFolderError` with the first field that is not as the schema has it. */
export function checkJson<const S extends v.GenericSchema>(file: string, schema: S, value: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new ModelFolderError(`${file}: ${v.getDotPath(issue) ?? 'document'}: ${issue.message}`);
}

/** An object from any names to such values, handed back itself: valibot's `record` leaves out `constructor` and others. */
export function dictionary<T>(isValue: (value: unknown) => value is T, message: string) {
  return v.custom<Readonly<Record<string, T>>>(
    (given) =>
      typeof given === 'object' && given !== null && !Array.isArray(given) && Object.values(given).every(isValue),
    message,
  );
}
