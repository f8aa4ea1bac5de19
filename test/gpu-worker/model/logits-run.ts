/** Test support: a model's decoder without sampler or engine, to read logits. */
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import type { ModelConfig } from '../../../gpu-worker/model/config.ts';
import { longChunk } from '../../../gpu-worker/model/cpu-attention.ts';
import { CpuDecoder, planWeights } from '../../../gpu-worker/model/cpu-decoder.ts';
import type { CpuKvType } from '../../../gpu-worker/model/graph/cpu-graph.ts';
import { measureRanges } from '../../../gpu-worker/model/kv-calibration.ts';
import { int8Scales, spreadPrompt } from '../../../gpu-worker/model/kv-ranges.ts';
import type { CalibrationPrompts } from '../../../gpu-worker/model/kv-ranges.ts';
import { KvSlots } from '../../../gpu-worker/model/kv-slots.ts';
import { openWeights } from '../../../gpu-worker/model/open-weights.ts';
import { schemeOf } from '../../../gpu-worker/model/quantize/scheme.ts';
import type { Quantization } from '../../../gpu-worker/model/quantize/scheme.ts';
import { RunBuffers } from '../../../gpu-worker/model/run-buffers.ts';
import { Memory } from '../../../gpu-worker/model/runtime/memory.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import type { StoredWeights } from '../../../gpu-worker/model/stored-weights.ts';
import type { RowSpec } from './plans.ts';
import { toRow } from './plans.ts';

export interface Formats {
  readonly quantization?: Quantization;
  readonly kvType?: CpuKvType;
  /** What the scales of an int8 cache are measured on. */
  readonly prompts?: CalibrationPrompts;
}

export class LogitsRun {
  readonly config: ModelConfig;
  readonly #decoder: CpuDecoder;
  readonly #kv: KvSlots;
  readonly #buffers: RunBuffers;
  readonly #logits: Memory;
  readonly #store: StoredWeights;

  /** `capacity`: tokens of a slot. */
  constructor(folder: string, sizes: { slots: number; capacity: number }, formats: Formats = {}) {
    const { quantization = 'none', kvType = 'float32' } = formats;
    this.config = readModelConfig(folder);
    const weights = openSafetensors(folder);
    const from = { source: weights, folder, quantization, cache: null, threads: 1, onProgress: () => {} };
    this.#store = openWeights(planWeights(this.config, schemeOf({ quantization })), from);
    const { slots, capacity } = sizes;
    this.#decoder = new CpuDecoder(this.config, this.#store, { capacity, kvType, longChunk: longChunk(2) });
    weights.close();
    const maxTokens = slots * capacity;
    const measured = { prompts: formats.prompts ?? spreadPrompt(this.config.vocabSize), path: null, capacity };
    const scales = kvType === 'int8' ? int8Scales(measureRanges(this.config, this.#decoder, measured)) : null;
    this.#kv = new KvSlots(this.config, { slots, capacity, scales });
    this.#buffers = new RunBuffers(this.config, { maxTokens, maxRows: sizes.slots });
    this.#logits = Memory.allocate(sizes.slots * this.config.vocabSize * 4);
  }

  /** One step; logits [V] after the last draw of every row. */
  step(rows: readonly RowSpec[]): readonly Float32Array[] {
    const { vocabSize } = this.config;
    const on = { buffers: this.#buffers, kv: this.#kv, logits: this.#logits.pointer, vocabSize };
    this.#decoder.run(rows.map(toRow), on);
    const all = new Float32Array(this.#logits.buffer);
    const asked = rows.filter(({ sample }) => sample !== null);
    return asked.map((_, row) => all.slice(row * vocabSize, (row + 1) * vocabSize));
  }

  free(): void {
    this.#decoder.release();
    for (const part of [this.#kv, this.#buffers, this.#logits, this.#store]) part.free();
  }
}
