/** Collects nodes, inputs, outputs and initializers of one ONNX graph and writes it. Knows ONNX's form, no architecture. */
import { ELEMENT_TYPES, ORT_LIBRARY_FILE } from '../runtime/ort-api.ts';
import type { ElementType } from '../runtime/ort-api.ts';
import { ATTRIBUTE_TYPES, encodeModel, EXTERNAL_DATA } from './onnx-schema.ts';

/** The name of a value in the graph. */
export type Value = string;
/** The empty name stands for an optional input or output left out. */
export const NONE: Value = '';

const IR_VERSION = 10;
const OPSETS = [
  { domain: '', version: 21 },
  { domain: 'com.microsoft', version: 1 },
];

/** A float attribute is written { float: x }: a plain number is an integer attribute. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** '' = standard operators. */
  readonly domain?: '' | 'com.microsoft';
  /** Names of the outputs; by default one fresh name. */
  readonly outputs?: readonly Value[];
}

export class GraphBuilder {
  readonly #name: string;
  readonly #nodes: object[] = [];
  readonly #inputs: object[] = [];
  readonly #outputs: object[] = [];
  readonly #initializers = new Map<string, object>();
  #fresh = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** Numbers are fixed sizes, strings name a free dimension. */
  input(name: string, type: ElementType, shape: readonly (number | string)[]): Value {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  output(name: string, type: ElementType, shape: readonly (number | string)[]): void {
    this.#outputs.push(valueInfo(name, type, shape));
  }

  /** A small constant inside the model. */
  int64(name: string, values: readonly number[]): Value {
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.#initializers.set(name, { name, dims: [values.length], dataType: ELEMENT_TYPES.int64, rawData });
    return name;
  }

  float32(name: string, values: readonly number[]): Value {
    const rawData = new Uint8Array(Float32Array.from(values).buffer);
    this.#initializers.set(name, { name, dims: [values.length], dataType: ELEMENT_TYPES.float32, rawData });
    return name;
  }

  /** A tensor that the session gets from memory (`SessionOptions.initializers`) under this name. */
  external(name: string, type: ElementType, shape: readonly number[]): Value {
    this.#initializers.set(name, {
      name,
      dims: [...shape],
      dataType: ELEMENT_TYPES[type],
      externalData: [{ key: 'location', value: ORT_LIBRARY_FILE }],
      dataLocation: EXTERNAL_DATA,
    });
    return name;
  }

  /** The first output. */
  node(spec: NodeSpec): Value {
    const outputs = spec.outputs ?? [`v${this.#fresh++}`];
    const attribute = Object.entries(spec.attributes ?? {}).map(([name, value]) => encodeAttribute(name, value));
    this.#nodes.push({
      name: `${spec.op}_${this.#nodes.length}`,
      opType: spec.op,
      domain: spec.domain ?? '',
      input: [...spec.inputs],
      output: [...outputs],
      attribute,
    });
    return outputs[0] ?? NONE;
  }

  fresh(): Value {
    return `v${this.#fresh++}`;
  }

  encode(): Uint8Array {
    return encodeModel({
      irVersion: IR_VERSION,
      producerName: 'millrace',
      opsetImport: OPSETS,
      graph: {
        name: this.#name,
        node: this.#nodes,
        initializer: [...this.#initializers.values()],
        input: this.#inputs,
        output: this.#outputs,
      },
    });
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly (number | string)[]): object {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[type], shape: { dim } } } };
}

function encodeAttribute(name: string, value: Attribute): object {
  if (typeof value === 'number') return { name, type: ATTRIBUTE_TYPES.int, i: value };
  if (typeof value === 'string') return { name, type: ATTRIBUTE_TYPES.string, s: new TextEncoder().encode(value) };
  if ('float' in value) return { name, type: ATTRIBUTE_TYPES.float, f: value.float };
  return { name, type: ATTRIBUTE_TYPES.ints, ints: [...value] };
}
