/** Variables of the process itself, where native libraries look: Node's own object reaches it on the main thread only. */
import koffi from 'koffi';

const libc = koffi.load(null);
const setenv = libc.func('int setenv(const char*, const char*, int)') as (
  name: string,
  value: string,
  overwrite: number,
) => number;

const getenv = libc.func('const char* getenv(const char*)') as (name: string) => string | null;
const ours = new Set<string>();

/** What whoever started the process has set stays; what was set by this may be set again. */
export function setDefaultVariable(name: string, value: string): void {
  if (getenv(name) === null) ours.add(name);
  if (ours.has(name)) setenv(name, value, 1);
}
