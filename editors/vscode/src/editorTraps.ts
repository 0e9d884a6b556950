/** Settings of the editor that keep suggestions from being seen. Pure. */

/** VS Code cancels an automatic request after this time and opens its completion list instead. */
export const EDITOR_PATIENCE_MS = 750;
/** What the way from the server to the screen takes. */
export const MARGIN_MS = 50;

export interface EditorSettings {
  /** `editor.inlineSuggest.enabled` */
  readonly inlineSuggest: boolean;
  /** `editor.quickSuggestions`, its part for code */
  readonly quickSuggestions: unknown;
  /** `understudy.deadlineMs` */
  readonly deadlineMs: number;
}

export interface Trap {
  readonly sentence: string;
  /** A button that mends it: this setting gets this value. */
  readonly button: string;
  readonly setting: string;
  readonly value: unknown;
}

export function editorTraps(settings: EditorSettings): Trap[] {
  const traps: Trap[] = [];
  if (!settings.inlineSuggest) {
    traps.push({
      sentence: 'VS Code shows no suggestion of anybody: `editor.inlineSuggest.enabled` is off.',
      button: 'Switch it on',
      setting: 'editor.inlineSuggest.enabled',
      value: true,
    });
  }
  if (
    settings.quickSuggestions === 'offWhenInlineCompletions' &&
    settings.deadlineMs > EDITOR_PATIENCE_MS - MARGIN_MS
  ) {
    traps.push({
      sentence:
        `With \`understudy.deadlineMs\` at ${settings.deadlineMs}, slow suggestions never appear: while \`editor.quickSuggestions\` ` +
        `is \`offWhenInlineCompletions\`, VS Code drops what comes after ${EDITOR_PATIENCE_MS} ms.`,
      button: 'Use 600 ms',
      setting: 'understudy.deadlineMs',
      value: 600,
    });
  }
  return traps;
}
