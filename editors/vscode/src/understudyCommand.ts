/** Runs the `understudy` command that also serves this window, with its lines as progress and in the log. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import * as vscode from 'vscode';
import { problem } from './said.ts';
import type { Answer, Server } from './server.ts';

export interface Run {
  readonly title: string;
  readonly args: readonly string[];
  /** A notification that can be cancelled, instead of a word in the status bar. */
  readonly cancellable?: boolean;
  /** The words for a line that says how far it is: they are shown, and the line is not logged. Without this, lines are shown as they are. */
  readonly progressOf?: (line: string) => string | undefined;
}

export interface Ended extends Answer {
  /** The user stopped it. */
  readonly cancelled: boolean;
  /** All that it printed. */
  readonly lines: readonly string[];
}

/** Wait for its end; `message` is why it failed. Cancelling interrupts it, as Ctrl-C does. */
export async function understudy(server: Server, log: vscode.LogOutputChannel, run: Run): Promise<Ended> {
  const { command } = server;
  if (command === undefined) {
    return { ok: false, message: 'The command `understudy` was not found.', cancelled: false, lines: [] };
  }
  const options: vscode.ProgressOptions = {
    location: run.cancellable ? vscode.ProgressLocation.Notification : vscode.ProgressLocation.Window,
    title: `Understudy: ${run.title}`,
    cancellable: run.cancellable === true,
  };
  return vscode.window.withProgress(options, (progress, token) => finished(command, run, log, progress, token));
}

function finished(
  command: string,
  { args, progressOf }: Run,
  log: vscode.LogOutputChannel,
  progress: vscode.Progress<{ message: string }>,
  token: vscode.CancellationToken,
): Promise<Ended> {
  log.info(`${command} ${args.join(' ')}`);
  const env = { ...process.env, NO_COLOR: '1', COLUMNS: '120' };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const interrupt = () => child.kill('SIGINT');
  const cancelling = token.onCancellationRequested(interrupt);
  process.once('exit', interrupt); // the window closes
  const lines: string[] = [];
  const errors: string[] = [];
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line);
    const words = progressOf?.(line);
    if (words === undefined) {
      log.info(line);
    }
    if (words !== undefined || progressOf === undefined) {
      progress.report({ message: words ?? line.trim() });
    }
  });
  createInterface(child.stderr).on('line', (line) => {
    errors.push(line);
    log.warn(line);
  });
  return new Promise((resolve) => {
    const end = (ok: boolean, message = '') => {
      cancelling.dispose();
      process.off('exit', interrupt);
      resolve({ ok, message, cancelled: token.isCancellationRequested, lines });
    };
    child.on('error', (fault) => end(false, fault.message));
    child.on('close', (status) => {
      const ok = status === 0 || token.isCancellationRequested;
      end(ok, ok ? '' : (problem(errors) ?? `understudy ${args.join(' ')} failed`));
    });
  });
}
