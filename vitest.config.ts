import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Models and servers are real: one file at a time on two cores.
    maxWorkers: 1,
    pool: 'forks',
    // Against tests that hang; no bound on speed, since machines stall.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // ONNX Runtime reads this when its library is loaded.
    env: { ORT_DISABLE_TELEMETRY: '1' },
  },
});
