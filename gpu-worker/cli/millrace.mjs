#!/usr/bin/env node
/** Runs the command on a Node that takes TypeScript as it is: this one, or the one that npm installed. Old syntax only. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

// ONNX Runtime sends telemetry unless its process says this before the library is loaded.
process.env.ORT_DISABLE_TELEMETRY = '1';

const [major, minor] = process.versions.node.split('.').map(Number);
const stripsTypes = major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18);

if (stripsTypes) await import('./main.ts');
else runOn(packagedNode());

function packagedNode() {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/bin/node`);
  } catch {
    console.error(`Node ${process.versions.node} is too old for millrace and the package ${name} is not there:`);
    console.error('install Node 24, or run npm install where its optional dependencies are for this machine');
    process.exit(1);
  }
}

function runOn(node) {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal's Ctrl-C has reached the child already.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    console.error(`${node} does not start: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
