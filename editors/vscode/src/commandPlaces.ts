/** Where the `understudy` command may be. Pure: the surroundings come in, paths go out, the likeliest first. */

import { delimiter, dirname, isAbsolute, join } from 'node:path';

export const COMMAND = 'understudy';

export interface Surroundings {
  /** The setting `understudy.command`; empty if it is not set. */
  readonly setting: string;
  /** The interpreter that the Python extension has chosen, if it has and may be believed. */
  readonly python: string | undefined;
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Paths to try, in order. With the setting there is only that one: a wrong setting is told, not worked around. */
export function commandPlaces(around: Surroundings): string[] {
  if (around.setting) {
    return [around.setting.replace(/^~(?=\/)/, around.home)];
  }
  const folders = [
    ...(around.python ? [dirname(around.python)] : []),
    ...toolFolders(around),
    // Entries like `.` would run what lies in the workspace.
    ...(around.environment.PATH ?? '').split(delimiter).filter((entry) => isAbsolute(entry)),
  ];
  return [...new Set(folders)].map((folder) => join(folder, COMMAND));
}

/** Where pipx and uv put a tool's command, and its own environment in case nothing links to it. */
function toolFolders({ home, environment: env }: Surroundings): string[] {
  const data = env.XDG_DATA_HOME || join(home, '.local', 'share');
  const environments = [
    join(env.PIPX_HOME || join(data, 'pipx'), 'venvs'),
    join(home, '.local', 'pipx', 'venvs'),
    join(home, 'Library', 'Application Support', 'pipx', 'venvs'),
    env.UV_TOOL_DIR || join(data, 'uv', 'tools'),
  ];
  const links = [env.PIPX_BIN_DIR, env.UV_TOOL_BIN_DIR, env.XDG_BIN_HOME, join(home, '.local', 'bin')];
  return [
    ...links.filter((folder) => folder !== undefined && isAbsolute(folder)),
    ...environments.map((folder) => join(folder, COMMAND, 'bin')),
  ] as string[];
}

/** The first place for which `isExecutable` holds. */
export async function firstExecutable(
  places: readonly string[],
  isExecutable: (path: string) => Promise<boolean>,
): Promise<string | undefined> {
  for (const place of places) {
    if (await isExecutable(place)) {
      return place;
    }
  }
  return undefined;
}
