/** The engine's own thread: opens the model, runs steps back to back, speaks messages. Knows no bus and no text format. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { calibrationPrompts } from '../evaluate/calibration-prompts.ts';
import { layersToKeep } from '../evaluate/evaluate.ts';
import type { PruneProgress } from '../evaluate/prune.ts';
import { chooseDevice } from '../model/choose-device.ts';
import { stepSizes } from '../model/device.ts';
import { readModelConfig } from '../model/config.ts';
import type { CalibrationProgress } from '../model/kv-ranges.ts';
import { openModel } from '../model/load.ts';
import type { FillProgress } from '../model/quantize/fill-all.ts';
import { TokenBytes } from '../text/detokenizer.ts';
import { Engine } from './engine.ts';
import type { EngineOptions } from './engine-options.ts';
import type { EngineCommand, EngineEvent, LoadingProgress } from './messages.ts';
import { fillsSteps, runningSeqs } from './modes.ts';
import { StepClock } from './step-clock.ts';
import type { ModelRunner } from './runner.ts';

interface ThreadData {
  readonly options: EngineOptions;
  readonly clock: SharedArrayBuffer;
}

class EngineThread {
  readonly #port: NonNullable<typeof parentPort>;
  readonly #engine: Engine;
  readonly #runner: ModelRunner;
  readonly #clock: StepClock;
  #stopped = false;

  constructor(port: NonNullable<typeof parentPort>, { options, clock }: ThreadData) {
    const begin = performance.now();
    this.#port = port;
    this.#clock = new StepClock(clock);
    const device = chooseDevice(options.device ?? 'cpu');
    const { maxNumSeqs, maxNumBatchedTokens: maxStepTokens } = stepSizes(options, device);
    const { policy, ...given } = options;
    const calibration = calibrationPrompts(options.folder, readModelConfig(options.folder).vocabSize);
    const running = { runningSeqs: runningSeqs(policy.mode, maxNumSeqs), fullSteps: fillsSteps(policy.mode) };
    const model = { ...given, device, maxNumSeqs, ...running, calibration };
    const tokenBytes = TokenBytes.fromFolder(options.folder);
    // What can never match again needs no place to stay.
    const cacheSlots = policy.prefixCaching ? maxNumSeqs : 0;
    const report = (work: LoadingProgress['work'], done: number, total: number) =>
      this.#post({ type: 'loading', work, done, total });
    const onWeights = ({ doneBytes, totalBytes }: FillProgress) => report('weights', doneBytes, totalBytes);
    const onPruning = ({ done, total }: PruneProgress) => report('pruning', done, total);
    const onCalibration = ({ done, total }: CalibrationProgress) => report('calibration', done, total);
    const keepLayers = layersToKeep({ ...model, onLoading: onWeights, onPruning });
    const sizes = { maxStepTokens, cacheSlots, keepLayers };
    this.#runner = openModel({ ...model, ...sizes, onProgress: onWeights, onCalibration });
    const runner = this.#runner;
    this.#engine = new Engine({ runner, tokenBytes, policy, now: Date.now });
    this.#post({ type: 'ready', info: { ...runner.info, loadMs: performance.now() - begin } });
    port.on('message', (command: EngineCommand) => this.#wake(command));
  }

  /** Runs until idle; commands that arrive meanwhile are taken between steps, without the event loop. */
  #wake(command: EngineCommand): void {
    this.#apply(command);
    for (let idle = false; !this.#stopped;) {
      if (this.#engine.busy) {
        this.#step();
        idle = false;
      } else if (!this.#engine.checkPrefixes(!idle)) break;
      else idle = true;
      this.#takeCommands();
    }
    this.#flush();
    const broken = this.#stopped ? [] : this.#engine.violations();
    if (broken.length > 0) throw new Error(`engine invariants broken: ${broken.join('; ')}`);
  }

  #step(): void {
    this.#clock.begin(Date.now());
    const outputs = this.#engine.step();
    this.#clock.end(Date.now());
    this.#post({ type: 'outputs', ...outputs, load: this.#engine.load });
    const { lost = null } = this.#runner;
    // Whoever supervises the process starts another; here every step would fail alike.
    if (lost === null) return;
    this.#stopped = true;
    end(`the device is lost: ${lost}`);
  }

  #takeCommands(): void {
    for (let next = receiveMessageOnPort(this.#port); next !== undefined; next = receiveMessageOnPort(this.#port)) {
      this.#apply(next.message as EngineCommand);
    }
  }

  #apply(command: EngineCommand): void {
    if (command.type === 'add') this.#engine.add(command.request);
    else if (command.type === 'abort') this.#engine.abort(command.id, command);
    else this.#stop();
  }

  #flush(): void {
    const outputs = this.#engine.takeOutputs();
    if (outputs.ends.length === 0 && outputs.prefixes === null) return;
    this.#post({ type: 'outputs', ...outputs, load: this.#engine.load, step: null });
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#runner.dispose();
    this.#port.close();
  }

  #post(event: EngineEvent): void {
    this.#port.postMessage(event);
  }
}

if (parentPort === null) throw new Error('engine-thread.ts runs as a worker thread');
const port = parentPort;
const end = (message: string): void => {
  port.postMessage({ type: 'fatal', message } satisfies EngineEvent);
  port.close();
};
process.on('uncaughtException', (error) => end(String(error.stack ?? error)));
try {
  new EngineThread(port, workerData as ThreadData);
} catch (error) {
  // Why a model cannot be opened is for its operator, who needs no stack; faults of ours do.
  const ours = !(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError;
  end(ours ? String((error as Error).stack ?? error) : error.message);
}
