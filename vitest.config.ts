import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Models and servers are real: one file at a time on two cores.
    maxWorkers: 1,
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // ONNX Runtime reads this when its library is loaded.
    env: { ORT_DISABLE_TELEMETRY: '1' },
  },
});
