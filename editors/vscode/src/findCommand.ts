/** Finds the `understudy` command on the machine where the files are. */

import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import * as vscode from 'vscode';
import { commandPlaces, firstExecutable } from './commandPlaces.ts';

/** Where the command is, or why there is none. */
export type Found = { readonly command: string } | { readonly reason: string };

/** `python` is the interpreter that the window uses, if that is known. */
export async function findCommand(python: string | undefined): Promise<Found> {
  if (process.platform === 'win32') {
    return { reason: 'Understudy runs on Linux and macOS; on Windows open the folder in WSL.' };
  }
  const setting = vscode.workspace.getConfiguration('understudy').get<string>('command', '').trim();
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
