/** The decoder-only transformer as a graph over parts passed in: order of layers and residuals. Knows neither kernels nor weight formats. */
import type { ModelConfig } from '../config.ts';
import type { Value } from './graph-builder.ts';
import type { Stack } from '../weight-store.ts';

export interface LinearSpec {
  readonly weight: Stack;
  /** Null = no bias. */
  readonly bias: Stack | null;
}

/** T = tokens of the run, flattened over sequences; H = hidden size. */
export interface DecoderParts {
  /** ids → [T, H] */
  embed(table: Stack): Value;
  /** [T, columns] → [T, rows] */
  linear(input: Value, spec: LinearSpec): Value;
  norm(input: Value, gamma: Stack): Value;
  /** Returns norm(input + residual) and input + residual. */
  addNorm(input: Value, residual: Value, gamma: Stack): { readonly normed: Value; readonly sum: Value };
  /** Packed [T, (heads + 2 × kvHeads) × headDim] → [T, heads × headDim], reading and extending the layer's KV cache. */
  attention(qkv: Value, layer: number): Value;
  /** silu(gate) × up */
  gatedSilu(gate: Value, up: Value): Value;
  /** [T, H] → [R, H]: the rows that logits are wanted for. */
  selectRows(hidden: Value): Value;
}

/** Logits [R, V]. */
export function decoder(config: ModelConfig, parts: DecoderParts): Value {
  const names = config.family.tensors;
  const embedding = stack(config.hiddenSize, [[`${names.embedding}.weight`, config.vocabSize]]);
  let hidden = parts.embed(embedding);
  let normed = parts.norm(hidden, vector(config, layerName(names.attentionNorm, 0)));
  for (let layer = 0; layer < config.layers; layer++) {
    const attended = parts.attention(parts.linear(normed, qkvSpec(config, layer)), layer);
    const out = linearSpec(config.heads * config.headDim, layerName(names.attentionOut, layer), config.hiddenSize);
    const afterAttention = parts.addNorm(
      parts.linear(attended, out),
      hidden,
      vector(config, layerName(names.mlpNorm, layer)),
    );
    const mlpOut = mlp(config, parts, { input: afterAttention.normed, layer });
    const nextNorm = layer + 1 < config.layers ? layerName(names.attentionNorm, layer + 1) : names.finalNorm;
    ({ normed, sum: hidden } = parts.addNorm(mlpOut, afterAttention.sum, vector(config, nextNorm)));
  }
  const head = config.tiedEmbeddings
    ? embedding
    : stack(config.hiddenSize, [[`${names.head}.weight`, config.vocabSize]]);
  return parts.linear(parts.selectRows(normed), { weight: head, bias: null });
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

const vector = (config: ModelConfig, name: string): Stack => stack(1, [[`${name}.weight`, config.hiddenSize]]);

function stack(columns: number, parts: readonly (readonly [tensor: string, rows: number])[]): Stack {
  return {
    name: parts.map(([tensor]) => tensor).join('+'),
    parts: parts.map(([tensor, rows]) => ({ tensor, rows })),
    columns,
  };
}

const layerName = (pattern: string, layer: number): string => pattern.replace('{}', String(layer));
