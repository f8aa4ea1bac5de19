/** A model without some of its layers: its config, and its weights under the names that the shorter graph asks for. Chooses none. */
import type { ModelConfig } from './config.ts';
import type { WeightSource } from './weights.ts';
import type { WeightStore } from './weight-store.ts';
import type { Stack } from './weight-store.ts';

/** `kept`: numbers of the layers that stay, ascending. */
export function withLayers(config: ModelConfig, kept: readonly number[]): ModelConfig {
  const attention = kept.map((layer) => {
    const kind = config.attention[layer];
    if (kind === undefined) throw new RangeError(`layer ${layer} of ${config.layers}`);
    return kind;
  });
  if (kept.length === 0) throw new RangeError('a model needs a layer');
  return { ...config, layers: kept.length, attention };
}

/** The same memory as `weights`: layer i of the graph has the weights of layer kept[i]. */
export function layerSubset(weights: WeightStore, kept: readonly number[]): WeightStore {
  const renamed = (name: string) => name.replaceAll(LAYER, (_, number) => `.layers.${kept[Number(number)]}.`);
  const original = (stack: Stack): Stack => ({
    ...stack,
    name: renamed(stack.name),
    parts: stack.parts.map((part) => ({ ...part, tensor: renamed(part.tensor) })),
  });
  return {
    quantization: weights.quantization,
    float32: (stack) => weights.float32(original(stack)),
    quantized: (stack) => weights.quantized(original(stack)),
    // Tables are numbered by the layers that are left.
    constant: (name, shape, values) => weights.constant(`${kept.join('.')} ${name} ${shape.join('x')}`, shape, values),
  };
}

/** The same files as `source`: layer i has the tensors of layer kept[i]. */
export function layerSubsetSource(source: WeightSource, kept: readonly number[]): WeightSource {
  const renamed = (name: string) => name.replaceAll(LAYER, (_, number) => `.layers.${kept[Number(number)]}.`);
  return {
    ...source,
    identity: `${source.identity} ${kept.join()}`,
    readRows: (name, part, target) => source.readRows(renamed(name), part, target),
    readHalves: (name, part, target) => source.readHalves?.(renamed(name), part, target) ?? false,
    close: () => source.close(),
  };
}

const LAYER = /\.layers\.(\d+)\./g;
