import { describe, expect, test } from 'vitest';
import { brokenRules, MAX_LINES } from '../../infra/ci/rules.ts';

describe('structure rules', () => {
  test.each([
    ['gpu-worker/engine/engine.ts', "import koffi from 'koffi';"],
    ['gpu-worker/engine/engine.ts', "import {\n  connect,\n} from '@nats-io/transport-node';"],
    ['edge/auth.ts', "import { wsconnect } from '@nats-io/nats-core';"],
    ['edge/auth.ts', "import { readFile } from 'node:fs/promises';"],
    ['edge/auth.ts', "import type { Config } from '../gpu-worker/config.ts';"],
    ['edge/auth.ts', "export { x } from '../gpu-worker/config.ts';"],
    ['edge/auth.ts', "const x = await import('../gpu-worker/config.ts');"],
    ['gpu-worker/worker.ts', "import { Hono } from 'hono';"],
    ['gpu-worker/worker.ts', "import '../edge/key.ts';"],
    ['gpu-worker/worker.ts', "import { x } from '../test/support/x.ts';"],
    ['gpu-worker/worker.ts', "const url = process.env['NATS_URL'];"],
    ['gpu-worker/worker.ts', "import { env } from 'node:process';"],
    ['shared/protocol.ts', "import { x } from '../edge/key.ts';"],
    ['shared/protocol.ts', "import { z } from 'zod';"],
    ['shared/protocol.ts', "import { randomBytes } from 'node:crypto';"],
    ['gpu-worker/long.ts', 'x;\n'.repeat(MAX_LINES + 1)],
  ])('%s must not hold %j', (file, text) => {
    expect(brokenRules(file, text)).not.toEqual([]);
  });

  test.each([
    ['gpu-worker/model/runtime/ort-library.ts', "import koffi from 'koffi';"],
    ['gpu-worker/worker.ts', "import { connect } from '@nats-io/transport-node';"],
    ['edge/bus.ts', "import { wsconnect } from '@nats-io/nats-core';"],
    ['edge/index.ts', "import { Hono } from 'hono';"],
    ['gpu-worker/config.ts', "const url = process.env['NATS_URL'];"],
    ['shared/protocol.ts', "import * as v from 'valibot';\nimport { x } from './errors.ts';"],
    ['infra/dev/edge.ts', "import { mintKey } from '../../edge/key.ts';"],
    ['gpu-worker/exact.ts', 'x;\n'.repeat(MAX_LINES)],
  ])('%s may hold %j', (file, text) => {
    expect(brokenRules(file, text)).toEqual([]);
  });
});
