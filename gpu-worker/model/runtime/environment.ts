/** Variables of the process itself, where native libraries look: Node's own object reaches it on the main thread only. */
import koffi from 'koffi';

const libc = koffi.load(null);
const setenv = libc.func('int setenv(const char*, const char*, int)') as (
  name: string,
  value: string,
  overwrite: number,
) => number;

/** What whoever started the process has set stays. */
export function setDefaultVariable(name: string, value: string): void {
  setenv(name, value, 0);
}
