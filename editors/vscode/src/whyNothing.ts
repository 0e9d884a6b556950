/** Tells why there was nothing: settings of the editor first, then the server's last answers. */

import { relative } from 'node:path';
import * as vscode from 'vscode';
import { trapsHere } from './advice.ts';
import type { Answer, Server } from './server.ts';

const N_ANSWERS = 20;

interface Why extends Answer {
  readonly answers: readonly {
    /** Seconds since 1970. */
    readonly at: number;
    /** Empty for a new document. */
    readonly path: string;
    /** From 0. */
    readonly line: number;
    readonly skip: string | null;
    readonly sentence: string;
  }[];
}

export async function whyNothing(server: Server): Promise<Answer | undefined> {
  const answer = await server.execute<Why>('understudy.why', N_ANSWERS);
  if (!('answers' in answer)) {
    return answer;
  }
  const traps = trapsHere(vscode.window.activeTextEditor?.document).map((trap) => ({
    label: `$(warning) ${trap.sentence}`,
    description: '',
  }));
  const answers = answer.answers.map((one) => ({
    label: `${one.skip === null ? '$(check)' : '$(dash)'} ${one.sentence}`,
    description: `${new Date(one.at * 1000).toLocaleTimeString()} ${place(one.path, one.line)}`,
  }));
  const placeHolder = answers.length ? 'The last requests, newest first' : 'VS Code has not asked yet';
  await vscode.window.showQuickPick([...traps, ...answers.reverse()], {
    title: 'Understudy: why nothing?',
    placeHolder,
  });
  return undefined;
}

function place(path: string, line: number): string {
  if (path === '') {
    return 'a new document';
  }
  const folder = vscode.workspace.getWorkspaceFolder(vscode.Uri.file(path));
  return `${folder ? relative(folder.uri.fsPath, path) : path}:${line + 1}`;
}
