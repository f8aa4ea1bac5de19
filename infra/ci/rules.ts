/** The shape of the tree as rules over one file's path and text: who imports what, who reads the environment, how long. Reads no file. */

export const MAX_LINES = 400;

interface ImportRule {
  readonly what: RegExp;
  /** Files that may import it. */
  readonly only: RegExp;
}

const IMPORTS: readonly ImportRule[] = [
  { what: /^koffi$|^onnxruntime-node/, only: /^(gpu-worker\/model\/runtime|test|infra)\// },
  { what: /^@nats-io\//, only: /^(gpu-worker\/worker\.ts|edge\/bus\.ts|test\/|infra\/)/ },
  { what: /^hono/, only: /^(edge|test\/edge)\// },
  { what: /^node:/, only: /^(gpu-worker|test|infra)\/|^vitest\.config\.ts$/ },
  { what: /^cloudflare:/, only: /^(edge|test\/edge)\// },
  { what: /\/gpu-worker\//, only: /^(gpu-worker|test|infra)\// },
  { what: /\/edge\//, only: /^(edge|test|infra)\// },
  { what: /\/(test|infra)\//, only: /^(test|infra)\/|^vitest\.config\.ts$/ },
];
const ENVIRONMENT = /process\s*(\.\s*env\b|\[\s*'env')|from 'node:process'/;
/** The runtime checks one variable that must be set before it is loaded. */
const ENVIRONMENT_READERS = /^(gpu-worker\/config\.ts|gpu-worker\/model\/runtime\/|infra\/|test\/)/;

/** One line for each rule that `file` breaks. */
export function brokenRules(file: string, text: string): readonly string[] {
  const broken = importsOf(text).flatMap((target) => brokenImport(file, target));
  const lines = countLines(text);
  if (lines > MAX_LINES) broken.push(`${file}: ${lines} lines, more than ${MAX_LINES}: split it`);
  if (ENVIRONMENT.test(text) && !ENVIRONMENT_READERS.test(file)) {
    broken.push(`${file}: only config files read the environment`);
  }
  return broken;
}

export function countLines(text: string): number {
  return text.split('\n').length - 1;
}

/** Static, bare, re-exporting and dynamic imports. */
function importsOf(text: string): readonly string[] {
  const form = /^\s*(?:import|export)\s[^'"`;]*?from\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm;
  return [...text.matchAll(form)].map(([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? '');
}

function brokenImport(file: string, target: string): readonly string[] {
  const broken = IMPORTS.filter(({ what, only }) => what.test(target) && !only.test(file)).map(
    () => `${file}: must not import ${target}`,
  );
  if (file.startsWith('shared/') && !target.startsWith('./') && target !== 'valibot') {
    broken.push(`${file}: shared/ is a leaf and must not import ${target}`);
  }
  return broken;
}
