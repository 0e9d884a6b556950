/** What the `understudy` command printed, as a window tells it. Pure: lines come in, sentences go out. */

/** How sentences of `understudy learn on` begin where no login service could be had. */
const UNWATCHED = ['It could not be started: ', 'This system has no login services'];

/** Why nothing watches the folders that are learnt from; undefined if a login service does. */
export function unwatched(lines: readonly string[]): string | undefined {
  return lines.find((line) => UNWATCHED.some((beginning) => line.startsWith(beginning)));
}

/** The last line of a night, without the name of the stage before it. */
export function outcome(lines: readonly string[]): string | undefined {
  return lines
    .findLast((line) => line.trim())
    ?.trim()
    .replace(/^[a-z]+ {2}/, '');
}

/** The fault that ended a command, with the way to mend it; warnings of libraries before it are left to the log. */
export function problem(errors: readonly string[]): string | undefined {
  const first = errors.findLastIndex((line) => line.startsWith('understudy: '));
  const sentences = errors.slice(Math.max(first, 0)).map((line) => line.trim());
  const told = sentences.filter((line) => line).join(' ');
  return told.replace(/^understudy: /, '').replace(/\.? to mend it: (.+)$/, '. To mend it: `$1`') || undefined;
}
