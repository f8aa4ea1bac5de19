/** Adds ONNX Runtime's CUDA provider to a session's options, and says clearly what is missing when it cannot. Knows no session. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { OrtError } from './ort-library.ts';
import type { Handle, OrtLibrary } from './ort-library.ts';

/** ONNX Runtime opens both by name in the folder of its core library. */
const PROVIDER_FILES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];

export interface CudaSettings {
  /** Number of the GPU. */
  readonly device: number;
  /** cudaStream_t that every run is queued on. */
  readonly stream: bigint;
  /** Runs that name a graph are captured and replayed. Every node must have a CUDA kernel then. */
  readonly graphs: boolean;
}

/** The provider's files that are not there; empty when it can be loaded. */
function missingCudaFiles(folder: string): readonly string[] {
  return PROVIDER_FILES.filter((file) => !existsSync(join(folder, file)));
}

/** Why the provider cannot be loaded, in one line; null when its files are there. */
export function whyNoProvider({ folder, version }: Pick<OrtLibrary, 'folder' | 'version'>): string | null {
  const missing = missingCudaFiles(folder);
  if (missing.length === 0) return null;
  return (
    `${missing.join(' and ')} missing in ${folder}: put them there from onnxruntime-gpu ${version} ` +
    '(pip download, folder onnxruntime/capi), or name a folder with all three libraries in MILLRACE_ORT_DIR'
  );
}

export function appendCudaProvider(ort: OrtLibrary, session: Handle, settings: CudaSettings): void {
  const problem = whyNoProvider(ort);
  if (problem !== null) throw new OrtError(problem);
  const options = ort.create('CreateCUDAProviderOptions');
  try {
    const entries = {
      device_id: String(settings.device),
      enable_cuda_graph: settings.graphs ? '1' : '0',
      // By default the arena doubles, and would take memory that the KV cache was promised.
      arena_extend_strategy: 'kSameAsRequested',
    };
    ort.call('UpdateCUDAProviderOptions', options, Object.keys(entries), Object.values(entries), 3);
    ort.call('UpdateCUDAProviderOptionsWithValue', options, 'user_compute_stream', settings.stream);
    ort.call('SessionOptionsAppendExecutionProvider_CUDA_V2', session, options);
  } catch (error) {
    throw explained(error, ort.version);
  } finally {
    ort.release('ReleaseCUDAProviderOptions', options);
  }
}

/** The provider's own words name a library at best; what to do about it is ours to say. */
function explained(error: unknown, version: string): unknown {
  const text = String(error);
  if (!(error instanceof OrtError) || !/\.so|LoadLibrary|dlopen|library/i.test(text)) return error;
  return new OrtError(
    `${error.message}: the CUDA provider of ONNX Runtime ${version} needs the libraries of CUDA 13 ` +
      '(cudart, cublas, cublasLt, curand) on LD_LIBRARY_PATH and a driver of version 580 or newer',
    { cause: error },
  );
}
