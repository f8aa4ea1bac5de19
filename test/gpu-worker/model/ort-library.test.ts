import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../../gpu-worker/model/graph/graph-builder.ts';
import { ortLibrary } from '../../../gpu-worker/model/runtime/ort-library.ts';
import { Session } from '../../../gpu-worker/model/runtime/session.ts';

test('the library that npm installed is the version the field numbers are for', () => {
  expect(ortLibrary().version).toMatch(/^1\.30\./);
});

test('refuses to load where ONNX Runtime would send telemetry', async () => {
  const url = new URL('../../../gpu-worker/model/runtime/ort-library.ts', import.meta.url);
  const script = `import { ortLibrary } from '${url.href}'; ortLibrary();`;
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env,
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    timeout: 30_000,
  });
  await expect(run).rejects.toThrow('ORT_DISABLE_TELEMETRY=1 must be in the environment');
});

test('engine threads of one process, one after another, share its environment', async () => {
  const url = new URL('../../../gpu-worker/model/runtime/ort-library.ts', import.meta.url);
  const script = `
    import { parentPort } from 'node:worker_threads';
    import { ortLibrary } from '${url.href}';
    parentPort.postMessage(ortLibrary().shareThreads(2) === ortLibrary().env);`;
  for (let thread = 0; thread < 2; thread++) {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`));
    const [same] = await once(worker, 'message');
    expect(same).toBe(true);
    await worker.terminate();
  }
});

test("ONNX Runtime's refusals become errors with its message", () => {
  const graph = new GraphBuilder('broken');
  graph.input('x', 'float32', [1]);
  graph.output('y', 'float32', [1]);
  graph.node({ op: 'NoSuchOperator', inputs: ['x'], outputs: ['y'] });
  expect(() => new Session(graph.encode(), { threads: 1 })).toThrow('NoSuchOperator');
});
