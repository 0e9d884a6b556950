/** The interpreter that is chosen in the Python extension. It may lie in the workspace, so an untrusted one is not asked. */

import * as vscode from 'vscode';

/** What we use of the extension's API. */
interface PythonApi {
  readonly environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
    readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

export class ActivePython implements vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  #watching: vscode.Disposable | undefined;
  /** Fires when another one is chosen, once `path` could be told. */
  readonly onDidChange = this.#changed.event;

  async path(): Promise<string | undefined> {
    const extension = vscode.extensions.getExtension<PythonApi>('ms-python.python');
    if (extension === undefined || !vscode.workspace.isTrusted) {
      return undefined;
    }
    try {
      const { environments } = await extension.activate();
      this.#watching ??= environments.onDidChangeActiveEnvironmentPath(() => this.#changed.fire());
      return environments.getActiveEnvironmentPath(vscode.workspace.workspaceFolders?.[0]?.uri).path;
    } catch {
      return undefined; // another extension's fault is no reason not to look further
    }
  }

  dispose(): void {
    this.#watching?.dispose();
    this.#changed.dispose();
  }
}
