/** The status item: who answers and how it is, with the menu behind it. */

import * as vscode from 'vscode';
import { type Standing, statusShown } from './status.ts';

const COLOURS = {
  plain: undefined,
  warning: new vscode.ThemeColor('statusBarItem.warningBackground'),
  error: new vscode.ThemeColor('statusBarItem.errorBackground'),
};

/** Shows `standing()` whenever `changed` fires. */
export function statusItem(standing: () => Standing, changed: vscode.Event<void>): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('status', vscode.StatusBarAlignment.Right, 100);
  item.name = 'Understudy';
  const show = () => {
    const { text, tooltip, tone, command } = statusShown(standing());
    item.text = text;
    item.command = command ?? 'understudy.menu';
    item.tooltip = new vscode.MarkdownString(['**Understudy**', ...tooltip].join('\n\n'));
    item.backgroundColor = COLOURS[tone];
    item.accessibilityInformation = { label: `${text.replace(/\$\([^)]*\)\s*/g, '')}. ${tooltip.join(' ')}` };
  };
  show();
  item.show();
  return vscode.Disposable.from(item, changed(show));
}
