/** Learning: switched on for a folder, started now, reported, and undone for a file. The `understudy` command does the work. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as vscode from 'vscode';
import { placeOf } from './place.ts';
import type { Answer, Server } from './server.ts';

const run = promisify(execFile);

/** Ask first: from then on what is saved there is kept, and learnt from. */
export async function learnHere(server: Server, log: vscode.LogOutputChannel): Promise<Answer | undefined> {
  const folder = placeOf()?.folder ?? vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (folder === undefined) {
    return { ok: false, message: 'Open a folder first.' };
  }
  const detail =
    'What you change in saved files there is kept on this machine, and a small adapter is trained from it while you are away. ' +
    'Secrets, ignored and generated files are left out. `understudy forget` undoes it.';
  const chosen = await vscode.window.showInformationMessage(`Learn from ${folder}?`, { modal: true, detail }, 'Learn');
  if (chosen !== 'Learn') {
    return undefined;
  }
  return said(await understudy(server, log, `learning from ${folder}`, 'learn', 'on', folder));
}

export async function trainNow(server: Server): Promise<Answer> {
  return said(await server.execute('understudy.train'));
}

/** What was learnt, as a document. */
export async function report(server: Server, log: vscode.LogOutputChannel): Promise<Answer | undefined> {
  const answer = await understudy(server, log, 'the report', 'report');
  if (!answer.ok) {
    return answer;
  }
  const document = await vscode.workspace.openTextDocument({ language: 'plaintext', content: answer.message ?? '' });
  await vscode.window.showTextDocument(document, { preview: true });
  return undefined;
}

/** Forget the open file: nothing that was kept of it stays. */
export async function forgetFile(server: Server): Promise<Answer> {
  const uri = vscode.window.activeTextEditor?.document.uri;
  return uri === undefined
    ? { ok: false, message: 'Open the file that is to be forgotten.' }
    : said(await server.execute('understudy.forget', uri.toString()));
}

/** Show what a command that went well has to say. */
function said(answer: Answer): Answer {
  if (answer.ok && answer.message) {
    void vscode.window.showInformationMessage(`Understudy: ${answer.message}`);
  }
  return answer;
}

/** Run the `understudy` command that also serves this window; `message` is what it printed. */
async function understudy(
  server: Server,
  log: vscode.LogOutputChannel,
  title: string,
  ...args: readonly string[]
): Promise<Answer> {
  const { command } = server;
  if (command === undefined) {
    return { ok: false, message: 'The command `understudy` was not found.' };
  }
  log.info(`${command} ${args.join(' ')}`);
  const progress = { location: vscode.ProgressLocation.Window, title: `Understudy: ${title}` };
  return vscode.window.withProgress(progress, async () => {
    try {
      const { stdout } = await run(command, args, { env: { ...process.env, NO_COLOR: '1' } });
      return { ok: true, message: stdout.trim() };
    } catch (problem) {
      const { stderr, message } = problem as { stderr?: string; message: string };
      log.error(stderr || message);
      return { ok: false, message: stderr?.trim().split('\n').at(-1) || message };
    }
  });
}
