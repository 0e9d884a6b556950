/** The language server of this window: started, started again when it dies, and ended with the window. */

import * as vscode from 'vscode';
import { CloseAction, ErrorAction, ExecuteCommandRequest, LanguageClient } from 'vscode-languageclient/node';
import { ActivePython } from './activePython.ts';
import { BackOff } from './backOff.ts';
import { findCommand } from './findCommand.ts';
import type { RuntimeStatus, ServerState } from './status.ts';

/** What every command of the server answers; `ok: false` comes with a message for the user. */
export interface Answer {
  readonly ok: boolean;
  readonly message?: string;
}

export class Server implements vscode.Disposable {
  state: ServerState = { kind: 'starting' };
  status: RuntimeStatus = {};
  /** The command that was found, for what runs beside the server. */
  command: string | undefined;

  readonly #changed = new vscode.EventEmitter<void>();
  readonly #backOff = new BackOff();
  readonly #python = new ActivePython();
  #client: LanguageClient | undefined;
  #startedAt = 0;
  #waiting: NodeJS.Timeout | undefined;
  /** Starts and stops, one after the other. */
  #queue: Promise<void> = Promise.resolve();

  /** Fires when `state` or `status` changed. */
  readonly onDidChange = this.#changed.event;

  readonly #log: vscode.LogOutputChannel;

  constructor(log: vscode.LogOutputChannel) {
    this.#log = log;
    this.#python.onDidChange(() => this.lookAgain());
  }

  /** Start it, or end the one that runs and start another. */
  restart(): Promise<void> {
    this.#backOff.reset();
    return this.#enqueue(() => this.#start());
  }

  /** Start anew if the command is now another one, as after another Python was chosen. */
  lookAgain(): Promise<void> {
    return this.#enqueue(async () => {
      const found = await findCommand(await this.#python.path());
      if ('command' in found && found.command !== this.command) {
        this.#backOff.reset();
        await this.#start();
      }
    });
  }

  stop(): Promise<void> {
    return this.#enqueue(() => this.#end());
  }

  dispose(): void {
    this.#python.dispose();
    this.#changed.dispose();
  }

  /** Run one of the server's commands. Without a server the answer says so. */
  async execute<T extends Answer>(command: string, ...args: readonly unknown[]): Promise<T | Answer> {
    if (this.#client === undefined || this.state.kind !== 'running') {
      return { ok: false, message: 'The language server does not run.' };
    }
    try {
      return (await this.#client.sendRequest(ExecuteCommandRequest.type, { command, arguments: [...args] })) as T;
    } catch (problem) {
      return { ok: false, message: String(problem) };
    }
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(work);
    this.#queue = done.catch((problem) => this.#log.error(String(problem)));
    return done;
  }

  /** In place of the one that runs, or that was about to. */
  async #start(): Promise<void> {
    await this.#end();
    this.#become({ kind: 'starting' });
    const found = await findCommand(await this.#python.path());
    if ('reason' in found) {
      this.#log.warn(found.reason);
      this.command = undefined;
      this.#become({ kind: 'missing', reason: found.reason });
      return;
    }
    this.command = found.command;
    this.#log.info(`starting ${found.command}`);
    this.#startedAt = performance.now();
    const client = this.#newClient(found.command);
    this.#client = client;
    try {
      await client.start();
      this.#become({ kind: 'running' });
    } catch (problem) {
      this.#died(client, String(problem));
    }
  }

  #newClient(command: string): LanguageClient {
    const client = new LanguageClient(
      'understudy',
      'Understudy',
      { command, args: ['lsp', '--client', 'vscode'] },
      {
        documentSelector: [{ scheme: 'file' }, { scheme: 'untitled' }],
        synchronize: { configurationSection: 'understudy' },
        outputChannel: this.#log,
        initializationFailedHandler: () => false,
        middleware: {
          workspace: {
            didChangeConfiguration: async (sections, send) => {
              try {
                await send(sections);
              } catch (problem) {
                // A server that is being replaced needs no new settings, and its user no error: the next one starts with them.
                if (client === this.#client) {
                  throw problem;
                }
              }
            },
          },
        },
        errorHandler: {
          error: () => ({ action: ErrorAction.Continue, handled: true }),
          closed: () => {
            this.#died(client, 'The language server ended by itself.');
            return { action: CloseAction.DoNotRestart, handled: true };
          },
        },
      },
    );
    client.onNotification('understudy/status', (status: RuntimeStatus) => {
      if (client === this.#client) {
        this.status = status;
        this.#changed.fire();
      }
    });
    return client;
  }

  /** Plan another start, unless this is not the serving client any more. */
  #died(client: LanguageClient, reason: string): void {
    if (client !== this.#client) {
      return;
    }
    this.#client = undefined;
    this.status = {};
    const delayMs = this.#backOff.died(performance.now() - this.#startedAt);
    this.#log.error(reason);
    if (delayMs === undefined) {
      this.#become({ kind: 'stopped', reason: `${reason} It was started again several times; the log says more.` });
      return;
    }
    this.#become({ kind: 'waiting', delayMs });
    this.#waiting = setTimeout(() => this.#enqueue(() => this.#start()), delayMs);
  }

  async #end(): Promise<void> {
    clearTimeout(this.#waiting);
    const client = this.#client;
    this.#client = undefined;
    this.status = {};
    await client?.stop().catch((problem) => this.#log.warn(String(problem)));
  }

  #become(state: ServerState): void {
    this.state = state;
    this.#changed.fire();
  }
}
