/** Tells of settings that keep suggestions from being seen: each once, with a button that mends it. */

import * as vscode from 'vscode';
import { type EditorSettings, editorTraps, type Trap } from './editorTraps.ts';

export function trapsHere(document?: vscode.TextDocument): Trap[] {
  return editorTraps(editorSettings(document));
}

/** Look now and at every change of settings. What was told is remembered over windows. */
export function adviseOnce(memory: vscode.Memento): vscode.Disposable {
  const look = () => {
    for (const trap of trapsHere(vscode.window.activeTextEditor?.document)) {
      const key = `told:${trap.setting}`;
      if (!memory.get<boolean>(key)) {
        void memory.update(key, true);
        void tell(trap);
      }
    }
  };
  look();
  return vscode.workspace.onDidChangeConfiguration((event) => {
    if (event.affectsConfiguration('editor') || event.affectsConfiguration('understudy.deadlineMs')) {
      look();
    }
  });
}

async function tell(trap: Trap): Promise<void> {
  if ((await vscode.window.showWarningMessage(`Understudy: ${trap.sentence}`, trap.button)) === trap.button) {
    await mend(trap);
  }
}

/** Set it where it was set wrongly. */
async function mend(trap: Trap): Promise<void> {
  const settings = vscode.workspace.getConfiguration();
  const inWorkspace = settings.inspect(trap.setting)?.workspaceValue !== undefined;
  await settings.update(
    trap.setting,
    trap.value,
    inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global,
  );
}

function editorSettings(document: vscode.TextDocument | undefined): EditorSettings {
  const editor = vscode.workspace.getConfiguration('editor', document);
  const quick = editor.get<unknown>('quickSuggestions');
  return {
    inlineSuggest: editor.get<boolean>('inlineSuggest.enabled', true),
    quickSuggestions: typeof quick === 'object' && quick !== null ? (quick as { other?: unknown }).other : quick,
    deadlineMs: vscode.workspace.getConfiguration('understudy', document).get<number>('deadlineMs', 0),
  };
}
