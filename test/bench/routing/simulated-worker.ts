/**
 * A worker process of the routing bench: what gpu-worker/main.ts puts together, but for the engine, whose steps take
 * simulated time. Flags are those of `millrace serve`; the costs of a step come as JSON in STEP_COSTS.
 */
import { readConfig } from '../../../gpu-worker/config.ts';
import { startHealth } from '../../../gpu-worker/health.ts';
import { Metrics } from '../../../gpu-worker/metrics.ts';
import { readModelConfig } from '../../../gpu-worker/model/config.ts';
import { stepSizes } from '../../../gpu-worker/model/device.ts';
import { readGenerationDefaults } from '../../../gpu-worker/model/generation-config.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { PromptEncoder } from '../../../gpu-worker/text/prompt.ts';
import { BusWorker } from '../../../gpu-worker/worker.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import { SimulatedRunner, type StepCosts } from './simulated-runner.ts';

const config = readConfig(process.argv.slice(2));
if (config === null) throw new Error('there is no help here');
const costs = JSON.parse(process.env['STEP_COSTS'] ?? '') as StepCosts;
const { model, maxModelLen, policy } = config;
const { maxNumSeqs, maxNumBatchedTokens: maxStepTokens } = stepSizes(config, 'cpu');
const { vocabSize } = readModelConfig(model);
const tokenBytes = TokenBytes.fromFolder(model);
// Every token shows at once, so the first one's time is that of the first text.
const words = Array.from({ length: vocabSize }, (_, id) => id).filter((id) =>
  /^ [a-z]+$/.test(Buffer.from(tokenBytes.of(id)).toString('latin1')),
);
const kvTokens = config.kvCacheTokens ?? maxNumSeqs * maxModelLen;
const runner = new SimulatedRunner({ costs, maxNumSeqs, maxModelLen, maxStepTokens, kvTokens, vocabSize, words });
const metrics = new Metrics();
const worker = await BusWorker.start({
  ...{ config, engine: new SimulatedEngine({ runner, tokenBytes, policy }), metrics, tokenBytes },
  encoder: new PromptEncoder(model, vocabSize),
  defaults: readGenerationDefaults(model),
  log: () => {},
  onDrain: () => {},
  onLost: (reason) => {
    console.error(`the bus is lost: ${reason}`);
    process.exit(1);
  },
});
process.once('SIGTERM', () => void worker.close().finally(() => process.exit(0)));
await startHealth({
  ...{ host: config.httpHost, port: config.httpPort, unready: () => null },
  metrics: () => metrics.registry.metrics(),
});
