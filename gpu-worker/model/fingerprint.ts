/** What tells workers apart that could give different tokens. Opens nothing. */
import { createHash } from 'node:crypto';
import type { ModelConfig } from './config.ts';
import { ortLibrary } from './runtime/ort-library.ts';
import type { WeightSource } from './weights.ts';

/** Of a model as it is served: 16 hex digits. `formats`: of weights, and of keys and values. */
export function fingerprintOf(
  config: ModelConfig,
  source: WeightSource,
  { device, formats }: { readonly device: 'cpu' | 'cuda'; readonly formats: readonly string[] },
): string {
  const parts = [JSON.stringify(config), source.identity, ...formats, `ort-${device}-${ortLibrary().version}`];
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
}
