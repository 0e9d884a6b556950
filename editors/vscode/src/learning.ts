/** Learning: switched on for a folder, started now, reported, and undone for a file. */

import * as vscode from 'vscode';
import { placeOf } from './place.ts';
import { outcome, unwatched } from './said.ts';
import type { Answer, Server } from './server.ts';
import { understudy } from './understudyCommand.ts';

const LEARN = 'Learn';
const LEARN_COMMITS = 'Also from my commits of 90 days';

/** Ask first: from then on what is saved there is kept, and learnt from. */
export async function learnHere(server: Server, log: vscode.LogOutputChannel): Promise<Answer | undefined> {
  const folder = placeOf()?.folder ?? vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (folder === undefined) {
    return { ok: false, message: 'Open a folder first.' };
  }
  const detail =
    'What you change in saved files there is kept on this machine, and a small adapter is trained from it at night. Secrets, ' +
    'ignored and generated files are left out. A login service is installed that watches and trains; ' +
    '`understudy learn off` ends it, `understudy forget` removes what was kept.';
  const question = `Learn from ${folder}?`;
  const chosen = await vscode.window.showInformationMessage(question, { modal: true, detail }, LEARN, LEARN_COMMITS);
  if (chosen === undefined) {
    return undefined;
  }
  const commits = chosen === LEARN_COMMITS ? ['--since', '90d'] : [];
  const args = ['learn', 'on', folder, ...commits, '--yes'];
  const answer = await understudy(server, log, { title: `learning from ${folder}`, args });
  const why = unwatched(answer.lines);
  if (answer.ok && why !== undefined) {
    const message = `learning from ${folder} is on, but nothing watches it until \`understudy learn watch\` runs in a terminal. ${why}`;
    return { ok: false, message };
  }
  return told(answer, `learning from ${folder} is on; \`understudy learn preview\` shows what would be trained on`);
}

/** A night, now. Closing the window or cancelling cuts it off; the next night takes it up. */
export async function trainNow(server: Server, log: vscode.LogOutputChannel): Promise<Answer> {
  const answer = await understudy(server, log, { title: 'training', args: ['learn', 'now'], cancellable: true });
  const stopped = 'the training is stopped; the next one goes on from there';
  return told(answer, answer.cancelled ? stopped : (outcome(answer.lines) ?? 'the training has ended'));
}

/** What was learnt: the summary as a document, the whole of it in the browser. */
export async function report(server: Server, log: vscode.LogOutputChannel): Promise<Answer | undefined> {
  const answer = await understudy(server, log, { title: 'the report', args: ['report'] });
  if (!answer.ok) {
    return answer;
  }
  const content = answer.lines.join('\n');
  const document = await vscode.workspace.openTextDocument({ language: 'plaintext', content });
  await vscode.window.showTextDocument(document, { preview: true });
  const page = content.match(/^the whole report: (.+)$/m)?.[1];
  if (page !== undefined) {
    const chosen = await vscode.window.showInformationMessage('Understudy: the whole report is a page.', 'Open it');
    if (chosen !== undefined) {
      await vscode.env.openExternal(vscode.Uri.file(page));
    }
  }
  return undefined;
}

/** Forget the open file: nothing that was kept of it stays. */
export async function forgetFile(server: Server): Promise<Answer> {
  const uri = vscode.window.activeTextEditor?.document.uri;
  if (uri === undefined) {
    return { ok: false, message: 'Open the file that is to be forgotten.' };
  }
  const answer = await server.execute('understudy.forget', uri.toString());
  return told(answer, answer.message ?? 'forgotten');
}

/** A command that went well says so. */
function told(answer: Answer, message: string): Answer {
  if (answer.ok) {
    void vscode.window.showInformationMessage(`Understudy: ${message}`);
  }
  return answer;
}
