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
  /** gelu(gate) × up, gelu by its tanh approximation */
  gatedGelu(gate: Value, up: Value): Value;
  /** value × factor */
  scale(value: Value, factor: number): Value;
  /** cap × tanh(value / cap) */
  softcap(value: Value, cap: number): Value;
  /** [T, 2 × columns] → its halves [T, columns] */
  halves(value: Value, columns: number): readonly [Value, Value];
  /** Norms each head of query and key in the packed projection; gammas [headDim]. */
  normHeads(packed: Value, gammas: { readonly query: Stack; readonly key: Stack }): Value;
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
  const embedded = parts.embed(embedding(config));
  const residual = config.embeddingScale === 1 ? embedded : parts.scale(embedded, config.embeddingScale);
  const normed = parts.norm(residual, norm(config, layerName(config.family.tensors.attentionNorm, 0)));
  return { qkv: packedQkv(config, parts, { input: normed, layer: 0 }), residual };
}

/** From one layer's attention to the next one's. */
export function betweenLayers(
  config: ModelConfig,
  parts: DecoderParts,
  from: LayerOutput & { layer: number },
): LayerInput {
  const layer = from.layer + 1;
  const nextNorm = layerName(config.family.tensors.attentionNorm, layer);
  const { normed, sum } = restOfLayer(config, parts, { ...from, nextNorm });
  return { qkv: packedQkv(config, parts, { input: normed, layer }), residual: sum };
}

/** From the last layer's attention to logits [T, V]. */
export function afterLastLayer(config: ModelConfig, parts: DecoderParts, from: LayerOutput): Value {
  const names = config.family.tensors;
  const { normed } = restOfLayer(config, parts, { ...from, layer: config.layers - 1, nextNorm: names.finalNorm });
  const head = config.tiedEmbeddings
    ? embedding(config)
    : stack(config.hiddenSize, [[`${names.head}.weight`, config.vocabSize]]);
  const logits = parts.linear(normed, { weight: head, bias: null });
  return config.logitSoftcap === null ? logits : parts.softcap(logits, config.logitSoftcap);
}

/** A stage's input, and the layer it belongs to. */
interface At {
  readonly input: Value;
  readonly layer: number;
}

function restOfLayer(
  config: ModelConfig,
  parts: DecoderParts,
  from: LayerOutput & { layer: number; nextNorm: string },
): { normed: Value; sum: Value } {
  const { layer, residual } = from;
  const names = config.family.tensors;
  const postNorm = (value: Value, name: string | null): Value =>
    name === null ? value : parts.norm(value, norm(config, layerName(name, layer)));
  const outRows: Rows = [layerName(names.attentionOut, layer), config.hiddenSize];
  const out = linearSpec(config.heads * config.headDim, [outRows], config.outBias);
  const attended = parts.linear(from.attended, out);
  const mlpNorm = norm(config, layerName(names.mlpNorm, layer));
  const attention = parts.addNorm(postNorm(attended, names.attentionPostNorm), residual, mlpNorm);
  const mlpOut = mlp(config, parts, { input: attention.normed, layer });
  return parts.addNorm(postNorm(mlpOut, names.mlpPostNorm), attention.sum, norm(config, from.nextNorm));
}

function mlp(config: ModelConfig, parts: DecoderParts, { input, layer }: At): Value {
  const { hiddenSize, intermediateSize, mlpBias } = config;
  const names = config.family.tensors;
  const wide = (name: string, rows: number): Value =>
    parts.linear(input, linearSpec(hiddenSize, [[layerName(name, layer), rows]], mlpBias));
  const [gate, up] =
    names.fusedGateUp === null
      ? [wide(names.gate, intermediateSize), wide(names.up, intermediateSize)]
      : parts.halves(wide(names.fusedGateUp, 2 * intermediateSize), intermediateSize);
  const gated = config.activation === 'silu' ? parts.gatedSilu(gate, up) : parts.gatedGelu(gate, up);
  return parts.linear(gated, linearSpec(intermediateSize, [[layerName(names.down, layer), hiddenSize]], mlpBias));
}

/** [T, packed columns] */
function packedQkv(config: ModelConfig, parts: DecoderParts, { input, layer }: At): Value {
  const { query, key, value, fusedQkv, queryNorm, keyNorm } = config.family.tensors;
  const keyRows = config.kvHeads * config.headDim;
  const rows: readonly Rows[] =
    fusedQkv === null
      ? [
          [layerName(query, layer), config.heads * config.headDim],
          [layerName(key, layer), keyRows],
          [layerName(value, layer), keyRows],
        ]
      : [[layerName(fusedQkv, layer), packedColumns(config)]];
  const packed = parts.linear(input, linearSpec(config.hiddenSize, rows, config.qkvBias));
  if (queryNorm === null || keyNorm === null) return packed;
  const gamma = (name: string): Stack => norm(config, layerName(name, layer), config.headDim);
  return parts.normHeads(packed, { query: gamma(queryNorm), key: gamma(keyNorm) });
}

/** A tensor's name, without `.weight` or `.bias`, and its rows. */
type Rows = readonly [name: string, rows: number];

/** Tensors stacked into one matrix. */
function linearSpec(columns: number, rows: readonly Rows[], biased: boolean): LinearSpec {
  const named = (suffix: string): readonly Rows[] => rows.map(([name, count]) => [`${name}.${suffix}`, count]);
  return { weight: stack(columns, named('weight')), bias: biased ? stack(1, named('bias')) : null };
}

const embedding = (config: ModelConfig): Stack =>
  stack(config.hiddenSize, [[`${config.family.tensors.embedding}.weight`, config.vocabSize]]);

function norm({ family, hiddenSize }: ModelConfig, name: string, rows = hiddenSize): Stack {
  const gamma = stack(1, [[`${name}.weight`, rows]]);
  return family.normPlusOne ? { ...gamma, plus: 1 } : gamma;
}

function stack(columns: number, parts: readonly Rows[]): Stack {
  return {
    name: parts.map(([tensor]) => tensor).join('+'),
    parts: parts.map(([tensor, rows]) => ({ tensor, rows })),
    columns,
  };
}

const layerName = (pattern: string, layer: number): string => pattern.replace('{}', String(layer));
