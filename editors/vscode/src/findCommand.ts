/** Finds the `understudy` command on the machine where the files are. */

import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import * as vscode from 'vscode';
import { commandPlaces, firstExecutable } from './commandPlaces.ts';

/** Where the command is, or why there is none. */
export type Found = { readonly command: string } | { readonly reason: string };

export async function findCommand(): Promise<Found> {
  if (process.platform === 'win32') {
    return { reason: 'Understudy runs on Linux and macOS; on Windows open the folder in WSL.' };
  }
  const setting = vscode.workspace.getConfiguration('understudy').get<string>('command', '').trim();
  const python = await activePython();
  const places = commandPlaces({ setting, python, home: homedir(), environment: process.env });
  const command = await firstExecutable(places, isExecutable);
  if (command !== undefined) {
    return { command };
  }
  return {
    reason: setting
      ? `The setting understudy.command names ${places[0]}, which is not an executable file.`
      : 'The command `understudy` was not found: not with the active Python, pipx or uv, nor on the PATH.',
  };
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** What we use of the Python extension's API. */
interface PythonApi {
  readonly environments: { getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string } };
}

/** The interpreter chosen in the Python extension. It may lie in the workspace, so an untrusted one is not asked. */
async function activePython(): Promise<string | undefined> {
  const extension = vscode.extensions.getExtension<PythonApi>('ms-python.python');
  if (extension === undefined || !vscode.workspace.isTrusted) {
    return undefined;
  }
  try {
    const api = await extension.activate();
    return api.environments.getActiveEnvironmentPath(vscode.workspace.workspaceFolders?.[0]?.uri).path;
  } catch {
    return undefined; // another extension's fault is no reason not to look further
  }
}
