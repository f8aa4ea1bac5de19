/** The decoder-only transformer over parts passed in, in the stages between attentions. Knows neither kernels nor weight formats. */
import type { ModelConfig } from '../config.ts';
import type { Value } from './graph-builder.ts';
import type { Stack } from '../weight-store.ts';

export interface LinearSpec {
  readonly weight: Stack;
  /** Null = no bias. */
  readonly bias: Stack | null;
}

/** T = tokens of the run, flattened over sequences; H = hidden size, V = vocabulary. */
export interface DecoderParts {
  /** ids → [T, H] */
  embed(table: Stack): Value;
  /** [T, columns] → [T, rows] */
  linear(input: Value, spec: LinearSpec): Value;
  norm(input: Value, gamma: Stack): Value;
  /** Returns norm(input + residual) and input + residual. */
  addNorm(input: Value, residual: Value, gamma: Stack): { readonly normed: Value; readonly sum: Value };
  /** silu(gate) × up */
  gatedSilu(gate: Value, up: Value): Value;
}

/** What a layer's attention takes, [T, packed columns], and the residual stream that goes around it, [T, H]. */
export interface LayerInput {
  readonly qkv: Value;
  readonly residual: Value;
}

/** What a layer's attention gives, [T, heads × headDim], and the same residual stream. */
export interface LayerOutput {
  readonly attended: Value;
  readonly residual: Value;
}

/** Columns of the packed query, key and value projection. */
export const packedColumns = ({ heads, kvHeads, headDim }: ModelConfig): number => (heads + 2 * kvHeads) * headDim;

/** Token ids → the first layer's attention. */
export function beforeFirstLayer(config: ModelConfig, parts: DecoderParts): LayerInput {
  const residual = parts.embed(embedding(config));
  const normed = parts.norm(residual, vector(config, layerName(config.family.tensors.attentionNorm, 0)));
  return { qkv: parts.linear(normed, qkvSpec(config, 0)), residual };
}

/** From one layer's attention to the next one's. */
export function betweenLayers(
  config: ModelConfig,
  parts: DecoderParts,
  from: LayerOutput & { layer: number },
): LayerInput {
  const layer = from.layer + 1;
  const { normed, sum } = restOfLayer(config, parts, {
    ...from,
    nextNorm: layerName(config.family.tensors.attentionNorm, layer),
  });
  return { qkv: parts.linear(normed, qkvSpec(config, layer)), residual: sum };
}

/** From the last layer's attention to logits [T, V]. */
export function afterLastLayer(config: ModelConfig, parts: DecoderParts, from: LayerOutput): Value {
  const names = config.family.tensors;
  const { normed } = restOfLayer(config, parts, { ...from, layer: config.layers - 1, nextNorm: names.finalNorm });
  const head = config.tiedEmbeddings
    ? embedding(config)
    : stack(config.hiddenSize, [[`${names.head}.weight`, config.vocabSize]]);
  return parts.linear(normed, { weight: head, bias: null });
}

function restOfLayer(
  config: ModelConfig,
  parts: DecoderParts,
  from: LayerOutput & { layer: number; nextNorm: string },
): { normed: Value; sum: Value } {
  const { layer, residual } = from;
  const names = config.family.tensors;
  const out = linearSpec(config.heads * config.headDim, layerName(names.attentionOut, layer), config.hiddenSize);
  const mlpNorm = vector(config, layerName(names.mlpNorm, layer));
  const attention = parts.addNorm(parts.linear(from.attended, out), residual, mlpNorm);
  const mlpOut = mlp(config, parts, { input: attention.normed, layer });
  return parts.addNorm(mlpOut, attention.sum, vector(config, from.nextNorm));
}

function mlp(config: ModelConfig, parts: DecoderParts, at: { input: Value; layer: number }): Value {
  const names = config.family.tensors;
  const wide = (name: string): Value =>
    parts.linear(at.input, linearSpec(config.hiddenSize, layerName(name, at.layer), config.intermediateSize));
  const gated = parts.gatedSilu(wide(names.gate), wide(names.up));
  return parts.linear(gated, linearSpec(config.intermediateSize, layerName(names.down, at.layer), config.hiddenSize));
}

function qkvSpec(config: ModelConfig, layer: number): LinearSpec {
  const { query, key, value } = config.family.tensors;
  const rows: readonly [string, number][] = [
    [layerName(query, layer), config.heads * config.headDim],
    [layerName(key, layer), config.kvHeads * config.headDim],
    [layerName(value, layer), config.kvHeads * config.headDim],
  ];
  const weight = stack(
    config.hiddenSize,
    rows.map(([name, count]) => [`${name}.weight`, count]),
  );
  const bias = config.qkvBias
    ? stack(
        1,
        rows.map(([name, count]) => [`${name}.bias`, count]),
      )
    : null;
  return { weight, bias };
}

function linearSpec(columns: number, name: string, rows: number): LinearSpec {
  return { weight: stack(columns, [[`${name}.weight`, rows]]), bias: null };
}

const embedding = (config: ModelConfig): Stack =>
  stack(config.hiddenSize, [[`${config.family.tensors.embedding}.weight`, config.vocabSize]]);

const vector = (config: ModelConfig, name: string): Stack => stack(1, [[`${name}.weight`, config.hiddenSize]]);

function stack(columns: number, parts: readonly (readonly [tensor: string, rows: number])[]): Stack {
  return {
    name: parts.map(([tensor]) => tensor).join('+'),
    parts: parts.map(([tensor, rows]) => ({ tensor, rows })),
    columns,
  };
}

const layerName = (pattern: string, layer: number): string => pattern.replace('{}', String(layer));
