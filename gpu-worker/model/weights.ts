/** Where weights come from: tensors by Hugging Face name, handed out as float32 rows. Knows no file format and no graph. */

/** A matrix [rows, columns]; a vector of n elements is [n, 1]. */
export interface WeightShape {
  readonly rows: number;
  readonly columns: number;
}

/** Rows of a matrix from `first` on. */
export interface WeightPart extends WeightShape {
  readonly first: number;
}

/** 16-bit formats, by ONNX's names. */
export type HalfType = 'float16' | 'bfloat16';

export interface WeightSource {
  /** Changes whenever the weights do: part of the runner's fingerprint. */
  readonly identity: string;
  /** Writes rows `first` … into `target`, as many as fill it. Throws when the tensor is missing or of another shape. */
  readRows(name: string, part: WeightPart, target: Float32Array): void;
  /** The format of all its weights, if it is one of 16 bits. */
  readonly storedAs?: HalfType | null;
  /** The same, not converted: false, and nothing is written, where they are stored in another format. */
  readHalves?(name: string, part: WeightPart & { readonly type: HalfType }, target: Uint16Array): boolean;
  /** Gives back files and mappings; nothing can be read afterwards. */
  close(): void;
}
