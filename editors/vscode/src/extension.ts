/** Understudy in VS Code: a language client, a status item with a menu, and a few commands. Suggestions come from the server. */

import * as vscode from 'vscode';
import { chooseAdapter, chooseStrength } from './adapters.ts';
import { adviseOnce } from './advice.ts';
import { forgetFile, learnHere, report, trainNow } from './learning.ts';
import { type MenuEntry, menuEntries } from './menu.ts';
import { placeOf } from './place.ts';
import { type Answer, Server } from './server.ts';
import { keepContext, offerOnce, SetUp } from './setUp.ts';
import type { Standing } from './status.ts';
import { statusItem } from './statusItem.ts';
import { whyNothing } from './whyNothing.ts';

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel('Understudy', { log: true });
  server = new Server(log);
  const standing = standingOf(server);
  context.subscriptions.push(
    log,
    server,
    statusItem(standing, server.onDidChange),
    adviseOnce(context.globalState),
    offerOnce(server, context.workspaceState),
    keepContext(server),
    ...commands(server, log, standing),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('understudy.command')) {
        void server?.restart();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => server?.lookAgain()),
    vscode.extensions.onDidChange(() => server?.lookAgain()),
  );
  await server.restart();
  void offerHelp(server);
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

function standingOf(server: Server): () => Standing {
  return () => ({ server: server.state, runtime: server.status });
}

function commands(server: Server, log: vscode.LogOutputChannel, standing: () => Standing): vscode.Disposable[] {
  const modelSetUp = new SetUp(server, log);
  const handlers: Record<string, () => unknown> = {
    menu: () => openMenu(standing()),
    suggest: () => vscode.commands.executeCommand('editor.action.inlineSuggest.trigger'),
    acceptWord: () => vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextWord'),
    acceptLine: () => vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextLine'),
    toggleEverywhere: () => server.execute('understudy.toggle', 'global'),
    toggleLanguage: () => toggleHere(server, 'language'),
    toggleFolder: () => toggleHere(server, 'folder'),
    whyNothing: () => whyNothing(server),
    chooseAdapter: () => chooseAdapter(server),
    chooseStrength: () => chooseStrength(server),
    setup: () => modelSetUp.run(),
    learnHere: () => learnHere(server, log),
    trainNow: () => trainNow(server, log),
    report: () => report(server, log),
    forgetFile: () => forgetFile(server),
    restartServer: () => restart(server),
    showLog: () => log.show(),
    openWalkthrough,
  };
  return Object.entries(handlers).map(([name, handler]) =>
    vscode.commands.registerCommand(`understudy.${name}`, async () => tell(await handler())),
  );
}

/** A command that failed says why. */
function tell(answered: unknown): void {
  const answer = answered as Answer | undefined;
  if (answer?.ok === false) {
    void vscode.window.showWarningMessage(`Understudy: ${answer.message}`);
  }
}

async function openMenu(standing: Standing): Promise<void> {
  const chosen = await vscode.window.showQuickPick<MenuEntry>(menuEntries(standing, placeOf()), {
    title: 'Understudy',
  });
  if (chosen !== undefined) {
    await vscode.commands.executeCommand(chosen.command);
  }
}

async function toggleHere(server: Server, scope: 'language' | 'folder'): Promise<Answer> {
  const place = placeOf();
  const value = scope === 'language' ? place?.language : place?.folder;
  return value === undefined
    ? { ok: false, message: 'Open a file first: it says which one is meant.' }
    : server.execute('understudy.toggle', scope, value);
}

/** The daemon with the model, if the server runs; the server itself, if it does not. */
async function restart(server: Server): Promise<Answer | undefined> {
  if (server.state.kind === 'running') {
    await server.execute('understudy.restart');
  }
  await server.restart();
  return offerHelp(server);
}

/** Without the command nothing works: say so, with the way out. */
async function offerHelp(server: Server): Promise<undefined> {
  if (server.state.kind !== 'missing') {
    return;
  }
  const chosen = await vscode.window.showWarningMessage(server.state.reason, 'How to get it', 'Choose the file…');
  if (chosen === 'How to get it') {
    await openWalkthrough();
  } else if (chosen !== undefined) {
    const [file] =
      (await vscode.window.showOpenDialog({ title: 'The understudy command', canSelectMany: false })) ?? [];
    if (file !== undefined) {
      const settings = vscode.workspace.getConfiguration('understudy');
      await settings.update('command', file.fsPath, vscode.ConfigurationTarget.Global);
    }
  }
}

async function openWalkthrough(): Promise<void> {
  await vscode.commands.executeCommand('workbench.action.openWalkthrough', 'understudy.understudy#start', false);
}
