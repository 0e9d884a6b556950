/** Runs the `understudy` command that also serves this window, with its lines as progress and in the log. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import * as vscode from 'vscode';
import type { Answer, Server } from './server.ts';

export interface Run {
  readonly title: string;
  readonly args: readonly string[];
  /** A notification that can be cancelled, instead of a word in the status bar. */
  readonly cancellable?: boolean;
}

/** Wait for its end. `message` is all that it printed, or its last line of error. Cancelling interrupts it, as Ctrl-C does. */
export async function understudy(server: Server, log: vscode.LogOutputChannel, run: Run): Promise<Answer> {
  const { command } = server;
  if (command === undefined) {
    return { ok: false, message: 'The command `understudy` was not found.' };
  }
  const options: vscode.ProgressOptions = {
    location: run.cancellable ? vscode.ProgressLocation.Notification : vscode.ProgressLocation.Window,
    title: `Understudy: ${run.title}`,
    cancellable: run.cancellable === true,
  };
  return vscode.window.withProgress(options, (progress, token) => finished(command, run.args, log, progress, token));
}

function finished(
  command: string,
  args: readonly string[],
  log: vscode.LogOutputChannel,
  progress: vscode.Progress<{ message: string }>,
  token: vscode.CancellationToken,
): Promise<Answer> {
  log.info(`${command} ${args.join(' ')}`);
  const env = { ...process.env, NO_COLOR: '1', COLUMNS: '120' };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const cancelling = token.onCancellationRequested(() => child.kill('SIGINT'));
  const said: string[] = [];
  const errors: string[] = [];
  createInterface(child.stdout).on('line', (line) => {
    said.push(line);
    log.info(line);
    progress.report({ message: line.trim() });
  });
  createInterface(child.stderr).on('line', (line) => {
    errors.push(line);
    log.warn(line);
  });
  return new Promise((resolve) => {
    child.on('error', (problem) => resolve({ ok: false, message: problem.message }));
    child.on('close', (status) => {
      cancelling.dispose();
      const ok = status === 0 || token.isCancellationRequested;
      const problem = errors.filter((line) => line.trim()).join(' ') || `understudy ${args.join(' ')} failed`;
      resolve({ ok, message: ok ? said.join('\n') : problem });
    });
  });
}
