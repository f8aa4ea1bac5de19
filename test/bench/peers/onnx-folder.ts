/**
 * Writes a Qwen2 model as a folder that Transformers.js opens with dtype q4, in the form of the hub's ONNX exports:
 * one graph with the KV cache as inputs and outputs. Knows no benchmark.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';
import { ATTRIBUTE_TYPES, encodeModel, EXTERNAL_DATA } from '../../../gpu-worker/model/graph/onnx-schema.ts';
import { rotaryTables } from '../../../gpu-worker/model/graph/rotary.ts';
import { ELEMENT_TYPES } from '../../../gpu-worker/model/runtime/ort-api.ts';
import type { ElementType } from '../../../gpu-worker/model/runtime/ort-api.ts';
import type { PlannedStack, PlannedTensor, WeightLayout } from '../../../gpu-worker/model/weight-plan.ts';

const DATA_FILE = 'model_q4.onnx_data';

export interface OnnxSource {
  readonly config: ModelConfig;
  /** Of int4 weights. */
  readonly layout: WeightLayout;
  /** Writes them to a file and gives the byte of it where the layout begins. */
  readonly writeWeights: (path: string) => number;
  /** config.json and the tokenizer's files. */
  readonly files: Readonly<Record<string, string>>;
}

/** `positions`: longest sequence. */
export function writeOnnxFolder(folder: string, source: OnnxSource, positions: number): void {
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  const data = join(folder, 'onnx', DATA_FILE);
  rmSync(data, { force: true });
  const start = source.writeWeights(data);
  writeFileSync(join(folder, 'onnx', 'model_q4.onnx'), new Qwen2Graph({ ...source, start, positions }).encode());
  for (const [name, text] of Object.entries(source.files)) writeFileSync(join(folder, name), text);
}

type GraphSource = OnnxSource & { readonly start: number; readonly positions: number };
type Attributes = Readonly<Record<string, number | { readonly float: number } | string | readonly number[]>>;

class Qwen2Graph {
  readonly #source: GraphSource;
  readonly #nodes: object[] = [];
  readonly #initializers = new Map<string, object>();
  readonly #inputs: object[] = [];
  readonly #outputs: object[] = [];
  readonly #tables: readonly string[];
  #fresh = 0;

  constructor(source: GraphSource) {
    const { positions } = source;
    this.#source = source;
    const rope = source.config.attention[0]?.rope ?? null;
    if (source.config.family.name !== 'qwen2' || rope === null) throw new Error('only qwen2 is written as ONNX');
    const tables = rotaryTables(rope, positions);
    this.#tables = (['cos', 'sin'] as const).map((name) =>
      this.#floats(name, [positions, rope.dims / 2], tables[name]),
    );
    this.#build();
  }

  encode(): Uint8Array {
    return encodeModel({
      ...{ irVersion: 10, producerName: 'millrace-bench' },
      opsetImport: [
        { domain: '', version: 21 },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: {
        ...{ name: 'qwen2', node: this.#nodes, initializer: [...this.#initializers.values()] },
        ...{ input: this.#inputs, output: this.#outputs },
      },
    });
  }

  #build(): void {
    const { config } = this.#source;
    const { layers, vocabSize, kvHeads, headDim } = config;
    this.#input('input_ids', 'int64', ['batch_size', 'sequence_length']);
    this.#input('attention_mask', 'int64', ['batch_size', 'total_sequence_length']);
    const kvShape = (length: string) => ['batch_size', kvHeads, length, headDim];
    for (let layer = 0; layer < layers; layer++) {
      for (const kind of ['key', 'value']) {
        this.#input(`past_key_values.${layer}.${kind}`, 'float32', kvShape('past_sequence_length'));
        this.#outputs.push(valueInfo(`present.${layer}.${kind}`, 'float32', kvShape('total_sequence_length')));
      }
    }
    this.#outputs.push(valueInfo('logits', 'float32', ['batch_size', 'sequence_length', vocabSize]));
    const lengths = this.#lengths();
    let residual = this.#embed();
    let normed = this.#norm(residual, config.family.tensors.attentionNorm.replace('{}', '0'));
    for (let layer = 0; layer < layers; layer++) [normed, residual] = this.#layer(layer, { normed, residual, lengths });
    this.#linear(
      normed,
      config.tiedEmbeddings ? config.family.tensors.embedding : config.family.tensors.head,
      'logits',
    );
  }

  /** seqlens_k [batch] and total_sequence_length, from the attention mask, as the exports have it. */
  #lengths(): readonly [string, string] {
    const sums = this.#node('ReduceSum', ['attention_mask', this.#int64s('axis', [1])], { keepdims: 0 });
    const less = this.#node('Sub', [sums, this.#int64s('one', [1])]);
    const shape = this.#node('Shape', ['attention_mask']);
    const total = this.#node('Gather', [shape, this.#int64s('one', [1])]);
    const int32 = { to: ELEMENT_TYPES.int32 };
    return [this.#node('Cast', [less], int32), this.#node('Cast', [total], int32)];
  }

  #layer(
    layer: number,
    from: { normed: string; residual: string; lengths: readonly [string, string] },
  ): [string, string] {
    const { config } = this.#source;
    const names = config.family.tensors;
    const at = (pattern: string) => pattern.replace('{}', String(layer));
    const packed = [names.query, names.key, names.value].map((name) => at(name));
    const product = this.#linear(from.normed, packed.map((name) => `${name}.weight`).join('+'));
    const qkv = this.#node('Add', [product, this.#weight(packed.map((name) => `${name}.bias`).join('+'))]);
    const past = ['key', 'value'].map((kind) => `past_key_values.${layer}.${kind}`);
    const outputs = [`attended.${layer}`, `present.${layer}.key`, `present.${layer}.value`];
    const attributes = { num_heads: config.heads, kv_num_heads: config.kvHeads, do_rotary: 1, rotary_interleaved: 0 };
    const inputs = [qkv, '', '', ...past, ...from.lengths, ...this.#tables];
    const attended = this.#node('GroupQueryAttention', inputs, attributes, outputs);
    const out = this.#linear(attended, at(names.attentionOut));
    const [middle, sum] = this.#addNorm(out, from.residual, at(names.mlpNorm));
    const gate = this.#linear(middle, at(names.gate));
    const silu = this.#node('QuickGelu', [gate], { alpha: { float: 1 } });
    const gated = this.#node('Mul', [silu, this.#linear(middle, at(names.up))]);
    const next = layer + 1 < config.layers ? names.attentionNorm.replace('{}', String(layer + 1)) : names.finalNorm;
    return this.#addNorm(this.#linear(gated, at(names.down)), sum, next);
  }

  #embed(): string {
    const { main, scales, scheme } = this.#stack(`${this.#source.config.family.tensors.embedding}.weight`);
    const [rows = 0, blocks = 0, bytes = 0] = main.shape;
    const codes = this.#external({ ...main, name: `${main.name}.rows`, shape: [rows, blocks * bytes] });
    const attributes = { gather_axis: 0, quantize_axis: 1, block_size: scheme.blockSize, bits: scheme.bits };
    return this.#node('GatherBlockQuantized', [codes, 'input_ids', this.#external(scales)], attributes);
  }

  /** `name`: with or without `.weight`. Level 4, int8 activations: the fastest that ONNX Runtime has. */
  #linear(input: string, name: string, output?: string): string {
    const { main, scales, scheme, stack } = this.#stack(name.endsWith('.weight') ? name : `${name}.weight`);
    const { bits, blockSize } = scheme;
    const attributes = { K: stack.columns, N: main.shape[0] ?? 0, bits, block_size: blockSize, accuracy_level: 4 };
    const inputs = [input, this.#external(main), this.#external(scales)];
    return this.#node('MatMulNBits', inputs, attributes, output === undefined ? undefined : [output]);
  }

  #norm(input: string, name: string): string {
    const attributes = { axis: -1, epsilon: { float: this.#source.config.normEpsilon } };
    return this.#node('SimplifiedLayerNormalization', [input, this.#weight(`${name}.weight`)], attributes);
  }

  #addNorm(input: string, residual: string, name: string): [normed: string, sum: string] {
    const outputs = [`v${this.#fresh++}`, '', '', `v${this.#fresh++}`];
    const inputs = [input, residual, this.#weight(`${name}.weight`)];
    const attributes = { epsilon: { float: this.#source.config.normEpsilon } };
    return [this.#node('SkipSimplifiedLayerNormalization', inputs, attributes, outputs), outputs[3] ?? ''];
  }

  #stack(name: string) {
    const planned = this.#find(name);
    const { scheme, scales } = planned;
    if (scheme === null || scales === null) throw new Error(`${name} is not quantized`);
    return { ...planned, scheme, scales };
  }

  #find(name: string): PlannedStack {
    const planned = this.#source.layout.stacks.find(({ stack }) => stack.name === name);
    if (planned === undefined) throw new Error(`${name} is not among the weights`);
    return planned;
  }

  #weight(name: string): string {
    return this.#external(this.#find(name).main);
  }

  #external({ name, type, shape, offset, bytes }: PlannedTensor): string {
    const externalData = [
      { key: 'location', value: DATA_FILE },
      { key: 'offset', value: String(this.#source.start + offset) },
      { key: 'length', value: String(bytes) },
    ];
    const tensor = { name, dims: [...shape], dataType: ELEMENT_TYPES[type], externalData, dataLocation: EXTERNAL_DATA };
    this.#initializers.set(name, tensor);
    return name;
  }

  #floats(name: string, dims: readonly number[], values: Float32Array): string {
    const rawData = new Uint8Array(values.buffer);
    this.#initializers.set(name, { name, dims: [...dims], dataType: ELEMENT_TYPES.float32, rawData });
    return name;
  }

  #int64s(name: string, values: readonly number[]): string {
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.#initializers.set(name, { name, dims: [values.length], dataType: ELEMENT_TYPES.int64, rawData });
    return name;
  }

  #input(name: string, type: ElementType, shape: readonly (string | number)[]): void {
    this.#inputs.push(valueInfo(name, type, shape));
  }

  #node(op: string, input: readonly string[], attributes: Attributes = {}, output = [`v${this.#fresh++}`]): string {
    const attribute = Object.entries(attributes).map(([name, value]) => {
      if (typeof value === 'number') return { name, type: ATTRIBUTE_TYPES.int, i: value };
      if (typeof value === 'string') return { name, type: ATTRIBUTE_TYPES.string, s: Buffer.from(value) };
      if ('float' in value) return { name, type: ATTRIBUTE_TYPES.float, f: value.float };
      return { name, type: ATTRIBUTE_TYPES.ints, ints: [...value] };
    });
    const domain = CONTRIB.has(op) ? 'com.microsoft' : '';
    this.#nodes.push({ name: `${op}_${this.#nodes.length}`, opType: op, domain, input: [...input], output, attribute });
    return output[0] ?? '';
  }
}

const CONTRIB = new Set([
  ...['GroupQueryAttention', 'MatMulNBits', 'GatherBlockQuantized', 'SkipSimplifiedLayerNormalization', 'QuickGelu'],
]);

function valueInfo(name: string, type: ElementType, shape: readonly (number | string)[]): object {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[type], shape: { dim } } } };
}
