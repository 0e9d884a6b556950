/** Where the cursor is, as the menu and the toggles mean it. */

import { dirname } from 'node:path';
import * as vscode from 'vscode';
import type { Place } from './menu.ts';

export function placeOf(): Place | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document && { language: document.languageId, folder: folderOf(document.uri) };
}

function folderOf(uri: vscode.Uri): string | undefined {
  if (uri.scheme !== 'file') {
    return undefined;
  }
  return vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath ?? dirname(uri.fsPath);
}
