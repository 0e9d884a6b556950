/** The menu behind the status item. Pure: what is known comes in, entries go out; each runs one command. */

import type { Standing } from './status.ts';

export interface MenuEntry {
  /** With an icon: `$(name) words`. */
  readonly label: string;
  readonly description?: string;
  readonly command: string;
}

/** Where the cursor is. */
export interface Place {
  readonly language: string;
  /** The workspace folder, or the folder of the file; undefined for a document that is not on disk. */
  readonly folder: string | undefined;
}

export function menuEntries(standing: Standing, place: Place | undefined): MenuEntry[] {
  if (standing.server.kind !== 'running') {
    return [
      { label: '$(debug-restart) Start the language server', command: 'understudy.restartServer' },
      { label: '$(book) How to get the `understudy` command', command: 'understudy.openWalkthrough' },
      logs,
    ];
  }
  const rest = [why, ...voices(standing), ...learning(place)];
  return standing.runtime.noModel
    ? [{ ...setUp, description: 'there is none yet' }, ...toggles(standing, place), ...rest, logs, restart]
    : [...toggles(standing, place), ...rest, setUp, logs, restart];
}

const setUp: MenuEntry = { label: '$(cloud-download) Set up a model…', command: 'understudy.setup' };

const why: MenuEntry = {
  label: '$(question) Why was there nothing?',
  description: 'the last requests, each with its reason',
  command: 'understudy.whyNothing',
};
const logs: MenuEntry = { label: '$(output) Show the log', command: 'understudy.showLog' };
const restart: MenuEntry = { label: '$(debug-restart) Restart', command: 'understudy.restartServer' };

function toggles({ runtime }: Standing, place: Place | undefined): MenuEntry[] {
  const entries = [toggle(runtime.disabled === true, 'everywhere', 'understudy.toggleEverywhere')];
  if (place && !runtime.disabled) {
    const { language, folder } = place;
    if (folder !== undefined) {
      entries.unshift(
        toggle(runtime.foldersOff?.includes(folder) === true, 'in this folder', 'understudy.toggleFolder', folder),
      );
    }
    const isOff = runtime.languagesOff?.includes(language) === true;
    entries.splice(-1, 0, toggle(isOff, `in ${language}`, 'understudy.toggleLanguage'));
  }
  return entries;
}

function toggle(isOff: boolean, where: string, command: string, description?: string): MenuEntry {
  const label = isOff ? `$(eye) Switch on ${where}` : `$(eye-closed) Switch off ${where}`;
  return description === undefined ? { label, command } : { label, description, command };
}

function voices({ runtime }: Standing): MenuEntry[] {
  const serving = runtime.adapterName;
  const choose: MenuEntry = {
    label: '$(person) Base model or mine…',
    description: !serving ? 'now: base model' : `now: ${serving}`,
    command: 'understudy.chooseAdapter',
  };
  if (!serving) {
    return [choose];
  }
  const strength = `now: ${runtime.strength ?? 1}`;
  return [
    choose,
    { label: '$(settings) Strength of the adapter…', description: strength, command: 'understudy.chooseStrength' },
  ];
}

function learning(place: Place | undefined): MenuEntry[] {
  const here: MenuEntry[] =
    place?.folder === undefined
      ? []
      : [
          {
            label: '$(mortar-board) Learn from this folder…',
            description: place.folder,
            command: 'understudy.learnHere',
          },
        ];
  return [
    ...here,
    { label: '$(play) Train now', command: 'understudy.trainNow' },
    { label: '$(graph) Report', description: 'what was learnt, and what it changed', command: 'understudy.report' },
  ];
}
