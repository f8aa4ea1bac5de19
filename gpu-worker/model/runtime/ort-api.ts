/** The part of ONNX Runtime's C API that we call: field numbers of struct OrtApi (version 24) and signatures. Loads nothing. */

/** void* stands for handles; every function with `status` returns an OrtStatus*, null = success. */
export const ORT_FUNCTIONS = {
  GetErrorMessage: [2, 'const char* (void*)'],
  CreateSessionFromArray: [8, 'void* (void*, const void*, size_t, void*, _Out_ void**)'],
  CreateSessionOptions: [10, 'void* (_Out_ void**)'],
  DisableMemPattern: [17, 'void* (void*)'],
  SetSessionLogSeverityLevel: [22, 'void* (void*, int)'],
  SetSessionGraphOptimizationLevel: [23, 'void* (void*, int)'],
  SetIntraOpNumThreads: [24, 'void* (void*, int)'],
  SetInterOpNumThreads: [25, 'void* (void*, int)'],
  CreateRunOptions: [39, 'void* (_Out_ void**)'],
  CreateTensorWithDataAsOrtValue: [49, 'void* (void*, void*, size_t, const int64_t*, size_t, int, _Out_ void**)'],
  CreateMemoryInfo: [68, 'void* (const char*, int, int, int, _Out_ void**)'],
  ReleaseEnv: [92, 'void (void*)'],
  ReleaseStatus: [93, 'void (void*)'],
  ReleaseSession: [95, 'void (void*)'],
  ReleaseValue: [96, 'void (void*)'],
  ReleaseRunOptions: [97, 'void (void*)'],
  ReleaseSessionOptions: [100, 'void (void*)'],
  CreateEnvWithGlobalThreadPools: [119, 'void* (int, const char*, void*, _Out_ void**)'],
  DisablePerSessionThreads: [120, 'void* (void*)'],
  CreateThreadingOptions: [121, 'void* (_Out_ void**)'],
  ReleaseThreadingOptions: [122, 'void (void*)'],
  AddSessionConfigEntry: [130, 'void* (void*, const char*, const char*)'],
  RunWithBinding: [133, 'void* (void*, void*, void*)'],
  CreateIoBinding: [134, 'void* (void*, _Out_ void**)'],
  ReleaseIoBinding: [135, 'void (void*)'],
  BindInput: [136, 'void* (void*, const char*, void*)'],
  BindOutput: [137, 'void* (void*, const char*, void*)'],
  CreateAndRegisterAllocator: [144, 'void* (void*, void*, void*)'],
  SetGlobalIntraOpNumThreads: [147, 'void* (void*, int)'],
  SetGlobalInterOpNumThreads: [148, 'void* (void*, int)'],
  AddInitializer: [150, 'void* (void*, const char*, void*)'],
  AddRunConfigEntry: [165, 'void* (void*, const char*, const char*)'],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, 'void* (void*, void*)'],
  CreateCUDAProviderOptions: [205, 'void* (_Out_ void**)'],
  UpdateCUDAProviderOptions: [206, 'void* (void*, const char**, const char**, size_t)'],
  ReleaseCUDAProviderOptions: [208, 'void (void*)'],
  UpdateCUDAProviderOptionsWithValue: [263, 'void* (void*, const char*, void*)'],
} as const;

export type OrtFunctionName = keyof typeof ORT_FUNCTIONS;

/** The version whose struct the numbers above are checked against. */
export const ORT_API_VERSION = 24;
export const ORT_VERSION_PATTERN = /^1\.30\./;

/**
 * ONNX Runtime checks that the file an external initializer names exists, also when its data comes from memory by
 * AddInitializer; it is never opened then. The library itself is a file that is always there.
 */
export const ORT_LIBRARY_FILE = 'libonnxruntime.so.1';

/** ONNX TensorProto.DataType and ONNXTensorElementDataType agree on these. */
export const ELEMENT_TYPES = {
  ...{ float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, float16: 10, bfloat16: 16, float8e4m3fn: 17 },
} as const;
export const ELEMENT_BYTES = {
  ...{ float32: 4, uint8: 1, int8: 1, int32: 4, int64: 8, float16: 2, bfloat16: 2, float8e4m3fn: 1 },
} as const;
export type ElementType = keyof typeof ELEMENT_TYPES;
